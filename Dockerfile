# The project with GMT and JupyterLab.
#
#   docker build -t fieldwise .
#   docker run --rm -p 8888:8888 fieldwise                        JupyterLab
#   docker run --rm -v "$PWD/model:/home/fieldwise/fieldwise/model" fieldwise make demo
FROM python:3.12-slim-bookworm

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# Binder passes a user and a number of its own.
ARG NB_USER=fieldwise
ARG NB_UID=1000
RUN useradd --create-home --uid "${NB_UID}" "${NB_USER}"
ENV USER=${NB_USER} \
    HOME=/home/${NB_USER} \
    PATH=/home/${NB_USER}/fieldwise/.venv/bin:${PATH} \
    PIP_NO_CACHE_DIR=1
WORKDIR /home/${NB_USER}/fieldwise

# What is installed is said in one place each: GMT's packages in the Makefile, Python's in pyproject.toml.
COPY Makefile ./
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && make gmt \
    && rm -rf /var/lib/apt/lists/* \
    && chown "${NB_USER}" .

# First what the installation needs: a change of the code alone does not install everything anew.
USER ${NB_USER}
COPY --chown=${NB_USER} pyproject.toml README.md LICENSE ./
COPY --chown=${NB_USER} .jupyter .jupyter
COPY --chown=${NB_USER} fieldwise/__init__.py fieldwise/
RUN make install

COPY --chown=${NB_USER} . .
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser"]
