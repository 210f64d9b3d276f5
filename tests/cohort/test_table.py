import pytest

from metavoxel.cohort.table import read_table
from metavoxel.errors import CohortError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "id,Age\n s1 , 3 \ns2,n/a\n"),
        ("a.tsv", "id\tAge\ns1\t3\ns2\tn/a\n"),
        ("a.csv", "id;Age\ns1;3\ns2;n/a\n"),
        ("a.txt", "id,Age\ns1,3\ns2,n/a\n"),
        ("a.csv", "\ufeffid,Age\r\ns1,3\r\n\r\n,\r\ns2,n/a"),
        ("a.CSV", '"id","Age"\n"s1","3"\n"s2","n/a"\n'),
    ],
)
def test_cells_are_stripped_text(tmp_path, name, text):
    (tmp_path / name).write_text(text, newline="")
    table = read_table(tmp_path / name)
    assert table.frame.to_dict("records") == [{"id": "s1", "Age": "3"}, {"id": "s2", "Age": "n/a"}]
    assert table.folder == tmp_path
    assert table.source == name


def test_rows_are_numbered_as_in_a_spreadsheet(tmp_path):
    (tmp_path / "a.csv").write_text('id,note\ns1,"two\nlines"\n\ns2,x\n')
    assert list(read_table(tmp_path / "a.csv").places) == ["a.csv row 2", "a.csv row 4"]


def test_a_delimiter_inside_quotes_is_text(tmp_path):
    (tmp_path / "a.csv").write_text('id,note\ns1,"a,b;c"\n')
    assert read_table(tmp_path / "a.csv").frame["note"].tolist() == ["a,b;c"]


def test_every_malformed_row_and_column_is_reported(tmp_path):
    (tmp_path / "a.csv").write_text("id,,Age,Age\ns1,1,2\ns2,1,2,3\ns3,1,2,3,4\n")
    with pytest.raises(CohortError) as caught:
        read_table(tmp_path / "a.csv")
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "row 1: column 2 has no name" in lines[0]
    assert "row 1: 2 columns are named 'Age'" in lines[1]
    assert "row 2: 3 cells where the header has 4" in lines[2]
    assert "row 4: 5 cells" in lines[3]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"id,Age\n", "no usable rows"),
        (b"id,Age\n\xff\xfe\n", "not text in UTF-8"),
        (b"PK\x03\x04\x00\x00\xff", "not text|not a CSV"),
        (b'id,Age\ns1,"3\n', "not a CSV"),
    ],
)
def test_other_content_is_refused(tmp_path, content, reason):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(CohortError, match=reason):
        read_table(tmp_path / "a.csv")


def test_a_missing_table_lists_those_that_exist(tmp_path):
    (tmp_path / "subjects.csv").write_text("a\n")
    with pytest.raises(CohortError, match=r"no such table; its folder has subjects\.csv"):
        read_table(tmp_path / "subejcts.csv")


ROWS = [("s0", "0.5"), ("s1", "1.5"), ("s2", "2.5")]


@pytest.mark.parametrize(
    ("delimiter", "before", "header"),
    [
        (";", "", "id;score, total"),
        (";", "", '"id";"score, total"'),
        (";", "sep=;\r\n", "id;score, total"),
        ("|", "", "id|score, total"),
        (",", "# exported, by hand, 2024\n#\n", 'id,"score, total"'),
        ("\t", "", "id\tscore, total"),
    ],
)
def test_the_delimiter_gives_rows_the_length_of_the_header(tmp_path, delimiter, before, header):
    lines = [header, *(delimiter.join(row) for row in ROWS)]
    (tmp_path / "a.csv").write_text(before + "\n".join(lines), newline="")
    frame = read_table(tmp_path / "a.csv").frame
    assert list(frame.columns) == ["id", "score, total"]
    assert list(frame.itertuples(index=False, name=None)) == ROWS


def test_a_header_may_start_with_the_comment_character(tmp_path):
    (tmp_path / "a.tsv").write_text("#FID\tIID\n1\t2\n")
    assert list(read_table(tmp_path / "a.tsv").frame.columns) == ["#FID", "IID"]


def test_decimal_commas_are_not_delimiters(tmp_path):
    (tmp_path / "a.csv").write_text("id;a, b;c\ns0;0,5;1\ns1;1,5;1\n")
    assert read_table(tmp_path / "a.csv").frame["a, b"].tolist() == ["0,5", "1,5"]


def test_a_quotation_mark_that_joins_rows_is_reported(tmp_path):
    (tmp_path / "a.csv").write_text('id,x,y\ns0,1,2\ns1,"1,2\ns2,1,2\ns3,1",2\ns4,1,2\n')
    with pytest.raises(CohortError, match=r"a\.csv row 3: a quotation mark joins 3 lines into one row"):
        read_table(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text('id,x,y\ns0,1,2\ns1,"1,2\ns2,1,2\n')
    with pytest.raises(CohortError, match=r"row 3: not a CSV .* quotation marks do not match"):
        read_table(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text('id,x,y\ns0,"one, two\nthree, four",2\n')
    assert read_table(tmp_path / "a.csv").frame["x"].tolist() == ["one, two\nthree, four"]


def test_many_rows_of_another_length_are_one_problem(tmp_path):
    rows = "".join(f"s{number},1,2\n" for number in range(20)) + "# end\n"
    (tmp_path / "a.csv").write_text("id,x\n" + rows)
    with pytest.raises(CohortError) as caught:
        read_table(tmp_path / "a.csv")
    first, second = map(str, caught.value.problems)
    assert (
        "rows 2, 3, 4, 5, 6 and 15 more: 3 cells where the header has 2 columns. Use one delimiter in the header and all rows"
        in first
    )
    assert "row 22: 1 cells" in second and "before the header only" in second


def test_a_table_that_is_not_fetched_is_not_missing(tmp_path):
    (tmp_path / "link.tsv").symlink_to(".git/annex/objects/x.tsv")
    (tmp_path / "pointer.tsv").write_text("/annex/objects/MD5E-s80--0.tsv\n")
    for name in ("link.tsv", "pointer.tsv"):
        with pytest.raises(CohortError, match=f"{name}: its content is not fetched .*datalad get"):
            read_table(tmp_path / name)


def test_equal_cells_share_one_text(tmp_path):
    """A million rows of seven cells would be half a gigabyte of texts; identifiers, all different, are not looked up."""
    lines = [f"s{row},{row % 3},{'FM'[row % 2]}x" for row in range(20_000)]
    (tmp_path / "a.csv").write_text("id,stage,sex\n" + "\n".join(lines) + "\n")
    table = read_table(tmp_path / "a.csv")
    assert [len({id(cell) for cell in table.frame[name]}) for name in table.frame] == [20_000, 3, 2]
    assert table.frame["id"].tolist()[::9999] == ["s0", "s9999", "s19998"]
    assert table.places[-1] == "a.csv row 20001" and table.places[1:3] == ["a.csv row 3", "a.csv row 4"]
