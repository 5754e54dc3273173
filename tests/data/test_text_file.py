"""One file as three splits."""

from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.data import text_source
from lstm_lm.data.config import SPLITS, DataConfig
from lstm_lm.data.corpora import open_split
from lstm_lm.data.encoding import load_corpus
from lstm_lm.errors import DataError

LINES = [f"line {i} of the text" for i in range(2000)]
DOCUMENTS = [f"= {i} =\nfirst line of {i}\n  last line" for i in range(400)]


def texts(path: Path, split_by: str) -> dict[str, str]:
    config = DataConfig(source="text_file", file=str(path), split_by=split_by)
    return {split: "".join(open_split(config, split).blocks()) for split in SPLITS}


def test_every_line_is_in_one_split_in_order(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(LINES))
    split_lines = {split: text.splitlines() for split, text in texts(path, "line").items()}
    assert sorted(chain(*split_lines.values())) == sorted(LINES)
    assert all(lines == sorted(lines, key=LINES.index) for lines in split_lines.values())
    shares = [len(split_lines[split]) / len(LINES) for split in SPLITS]
    assert shares == pytest.approx([0.9, 0.05, 0.05], abs=0.015)


def test_a_document_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("\n \n\n".join(DOCUMENTS))
    split_documents = {split: text.split("\n\n")[:-1] for split, text in texts(path, "document").items()}
    assert sorted(chain(*split_documents.values())) == sorted(DOCUMENTS)
    shares = [len(split_documents[split]) / len(DOCUMENTS) for split in SPLITS]
    assert shares == pytest.approx([0.9, 0.05, 0.05], abs=0.04)


@pytest.mark.parametrize(("split_by", "units"), [("line", LINES), ("document", DOCUMENTS)])
@pytest.mark.parametrize("position", [0, 200, 2000])
def test_added_text_moves_no_other_text(tmp_path: Path, split_by: str, units: list[str], position: int) -> None:
    before, after = tmp_path / "before.txt", tmp_path / "after.txt"
    added = [*units[:position], "a new one", "another new one", *units[position:]]
    for path, content in ((before, units), (after, added)):
        path.write_text("\n\n".join(content) + "\n")
    old, new = texts(before, split_by), texts(after, split_by)
    for split in SPLITS:
        assert [line for line in new[split].split("\n") if "new one" not in line and line] == [
            line for line in old[split].split("\n") if line
        ]


@pytest.mark.parametrize("split_by", ["line", "document"])
@given(lines=st.lists(st.sampled_from(["", " ", "a b", "c d e", "f " * 40]), max_size=30), block=st.integers(5, 50))
def test_the_size_of_a_block_makes_no_difference(split_by: str, lines: list[str], block: int) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "text.txt"
        path.write_text("\n".join(lines))
        whole = texts(path, split_by)
        patch.setattr(text_source, "_BLOCK_CHARS", block)
        assert texts(path, split_by) == whole


def test_the_cache_notices_another_text_and_another_way_to_split(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("\n".join(LINES))

    def digests(split_by: str) -> set[str]:
        config = DataConfig(source="text_file", file=str(path), split_by=split_by)
        return {open_split(config, split).digest() for split in SPLITS}

    seen = digests("line") | digests("document")
    path.write_text("\n".join(LINES[1:]))
    assert len(seen | digests("line")) == 9


def test_errors_name_the_file_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("one document of two words\nand more\n")

    def load(file: Path, split_by: str = "line") -> None:
        load_corpus(DataConfig(source="text_file", file=str(file), split_by=split_by))

    with pytest.raises(DataError, match=r"book\.txt, \w+ split by document: .* is empty; .* or data\.split_by=line"):
        load(path, "document")
    with pytest.raises(DataError, match=r"data\.file=.*other\.txt: no such file"):
        load(tmp_path / "other.txt")
    with pytest.raises(DataError, match=r"is a folder; name a file in it, or use data=text_files data\.dir="):
        load(tmp_path)
    assert DataConfig(source="text_file").problems() == ["file: text_file needs the file; set data.file=FILE"]
    (problem,) = DataConfig(source="text_file", file="x", split_by="page").problems()
    assert problem.startswith("split_by: unknown (got 'page')")
