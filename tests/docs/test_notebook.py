"""The notebook of docs/ runs on a small corpus, and its stored outputs belong to its code."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from helpers.real_commands import write_corpus
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent.parent / "docs" / "python.ipynb"
MAX_BYTES = 300_000


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.slow
def test_notebook_runs_on_a_small_corpus(notebook: nbformat.NotebookNode, tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus")
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    corpus = '"data=text_files", "data.dir=corpus", "batching.batch_size=8"]'
    parameters.source = parameters.source.replace('"]', f'", {corpus}').replace("EPOCHS = 2", "EPOCHS = 1")
    environment = os.environ | {"LSTM_LM_CACHE": str(tmp_path / "cache")}
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    assert sum("image/png" in output.get("data", {}) for output in outputs(notebook)) == 2


def test_stored_outputs_are_complete_small_and_without_local_paths(notebook: nbformat.NotebookNode) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum("image/png" in output.get("data", {}) for output in outputs(notebook)) == 2
    assert not [
        output for output in outputs(notebook) if output.output_type == "error" or output.get("name") == "stderr"
    ]
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < MAX_BYTES
    assert not re.search("/(home|root|tmp|Users)/", text)
