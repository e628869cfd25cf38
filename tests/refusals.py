"""Commands that must be refused."""

from fieldwise.cli import main


def refusal(capsys, *words):
    """Run a command that must be refused, and give its one line."""
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("fieldwise: ")
    assert "Traceback" not in lines[0]
    return lines[0]
