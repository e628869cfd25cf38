"""Graphs of networks: parsed again, and counted against the architecture."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from fieldwise.errors import InputError
from fieldwise.networks.channels import Channels
from fieldwise.networks.esrgan import Discriminator, Generator
from fieldwise.networks.graphs import write_dot

NODE = re.compile(r'^  "((?:[^"\\]|\\.)+)" \[label="((?:[^"\\]|\\.)*)"(, shape=ellipse)?\];$')
EDGE = re.compile(r'^  "((?:[^"\\]|\\.)+)" -> "((?:[^"\\]|\\.)+)";$')


def parse(path: Path) -> tuple[dict[str, list[str]], list[tuple[str, str]], set[str]]:
    """Read nodes with the lines of their labels, edges, and which nodes are inputs; every line must fit."""
    first, style, *lines, last = path.read_text().splitlines()
    assert re.fullmatch(r'digraph "\w+" {', first)
    assert (style, last) == ("  node [shape=box];", "}")
    nodes, edges, inputs = {}, [], set()
    for line in lines:
        if node := NODE.match(line):
            assert node[1] not in nodes
            nodes[node[1]] = node[2].split("\\n")
            inputs |= {node[1]} if node[3] else set()
        else:
            edge = EDGE.match(line)
            assert edge, line
            edges.append((edge[1], edge[2]))
    return nodes, edges, inputs


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_generator_has_a_node_for_each_step_and_an_edge_for_each_reading(
    tmp_path: Path, blocks: int
) -> None:
    """A dense block: five convolutions, four joints, one sum, reading 5 + 8 + 2; a block: three and a sum."""
    nodes, edges, inputs = parse(write_dot(Generator(num_residual_blocks=blocks), tmp_path / "graph.dot"))
    before, after = 4 + 4 + 1 + 1, 1 + 1 + 2 + 2  # inputs, convolutions on them, joint, convolution; the rest
    assert len(nodes) == before + blocks * (3 * 10 + 1) + after
    assert len(edges) == (4 + 4 + 1) + blocks * (3 * 15 + 2) + (1 + 2 + 2 + 2)
    assert inputs == {"bed_lowres", "surface_elevation", "ice_velocity", "snow_accumulation"}
    assert {node for edge in edges for node in edge} == set(nodes)
    assert len(set(edges)) == len(edges)


def test_a_graph_says_what_the_layers_are(tmp_path: Path) -> None:
    nodes, edges, _ = parse(write_dot(Generator(num_residual_blocks=1), tmp_path / "graph.dot"))
    name = "input_block.conv_on_surface_elevation"
    assert nodes[name] == [
        name,
        "WindowConvolution 30 x 30, stride 10 x 10",
        "32 x 9 x 9",
        "28832 parameters",  # 32 x 30 x 30 weights, 32 biases
    ]
    assert nodes["final_conv_layer2"][2:] == ["1 x 36 x 36", "10963 parameters"]  # 64 x 9 x (18 + 1) + 18 + 1
    assert ("final_conv_layer1", "final_conv_layer2") in edges
    assert sum(int(label[3].split()[0]) for label in nodes.values() if len(label) > 3) == sum(
        parameter.numel() for parameter in Generator(num_residual_blocks=1).parameters()
    )


def test_a_discriminator_is_a_chain(tmp_path: Path) -> None:
    nodes, edges, inputs = parse(write_dot(Discriminator(), tmp_path / "graph.dot"))
    assert len(nodes) == 1 + 10 + 9 + 2
    assert edges == list(zip(nodes, list(nodes)[1:]))
    assert len(inputs) == 1


def test_another_network_gives_another_graph(tmp_path: Path) -> None:
    generator = Generator([Channels("bed_lowres", 1, 1000.0)], num_residual_blocks=1)
    _, _, inputs = parse(write_dot(generator, tmp_path / "graph.dot"))
    assert inputs == {"bed_lowres"}
    plain = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    nodes, edges, _ = parse(write_dot(plain, tmp_path / "graph.dot", torch.zeros(1, 1, 9, 9)))
    assert list(nodes) == ["input", "0", "2"]
    assert edges == [("input", "0"), ("0", "2")]


def test_without_an_example_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Conv2d tells no example of what it takes"):
        write_dot(nn.Conv2d(1, 1, 1), tmp_path / "graph.dot")
    assert not (tmp_path / "graph.dot").exists()


def test_a_network_stays_in_its_mode(tmp_path: Path) -> None:
    discriminator = Discriminator().train()
    before = discriminator.batch_norm1.get_buffer("running_mean").clone()
    write_dot(discriminator, tmp_path / "graph.dot")
    assert discriminator.training
    assert torch.equal(discriminator.batch_norm1.get_buffer("running_mean"), before)
