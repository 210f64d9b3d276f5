"""Files replaced as a whole."""

import errno
import threading
import time

import pytest

from metavoxel.errors import RunError
from metavoxel.storage.atomic import located, locked, replaced, write_text


def test_an_error_keeps_the_former_file(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_text(path, "first")
    with pytest.raises(KeyboardInterrupt), replaced(path) as temporary:
        temporary.write_text("sec")
        raise KeyboardInterrupt
    assert path.read_text() == "first" and [file.name for file in path.parent.iterdir()] == ["a.json"]
    write_text(path, "second")
    assert path.read_text() == "second"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "make room"), (errno.EROFS, "read-only; choose another `output`"),
     (errno.EACCES, "make the folder writable"), (errno.EIO, "check the disk")],
)  # fmt: skip
def test_errors_have_a_place_and_a_remedy(tmp_path, number, remedy):
    with pytest.raises(RunError) as caught, located(tmp_path / "a"):
        raise OSError(number, "it failed")
    assert f"{tmp_path / 'a'}: cannot be written (it failed): " in str(caught.value) and remedy in str(caught.value)


def test_the_lock_of_a_folder_is_held_by_one_at_a_time(tmp_path):
    entered = threading.Event()

    def second():
        with locked(tmp_path / "new"):
            entered.set()

    other = threading.Thread(target=second)
    with locked(tmp_path / "new"):
        other.start()
        time.sleep(0.3)
        assert not entered.is_set()
    other.join(10)
    assert entered.is_set()


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        write_text(tmp_path / "a" / "b", "text")
