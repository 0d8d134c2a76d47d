"""The registry finds what it should, says why it cannot use the rest, and hides nothing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from plugin_files import METHOD, method, write

from pcbench.catalogue import loading, neighbours, open_catalogue
from pcbench.catalogue.kinds import split_spec
from pcbench.catalogue.loading import Plugin
from pcbench.catalogue.registry import Registry
from pcbench.common import packaged
from pcbench.common.packaged import builtin
from pcbench.errors import UsageError


@pytest.fixture(autouse=True)
def no_outside_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PCBENCH_PLUGINS", raising=False)


def found(*folders: Path) -> dict[str, Plugin]:
    return {plugin.name: plugin for plugin in open_catalogue(folders).methods.plugins()}


def error_of(name: str, *folders: Path) -> str:
    error = found(*folders)[name].error
    assert error is not None
    assert "\n" not in error
    return error


def test_listing_built_in_plugins_imports_neither_torch_nor_pydantic_nor_the_plugins() -> None:
    code = """
        import sys
        from pcbench.catalogue import open_catalogue
        lists = [registry.plugins() for registry in open_catalogue().registries().values()]
        assert "pointnet" in [plugin.name for plugin in lists[1]], lists
        heavy = {"torch", "pydantic", "pandas", "numpy", "scipy", "h5py"} & set(sys.modules)
        assert not heavy, heavy
        assert not [name for name in sys.modules if name.startswith("_pcbench")]
    """
    root = Path(loading.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    environment.pop("PCBENCH_PLUGINS", None)
    subprocess.run([sys.executable, "-c", dedent(code)], check=True, env=environment)


def test_a_file_is_parsed_once_a_process_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "helper.py", "x = 1\n")
    for name in ("one", "two"):
        path = method(tmp_path / f"{name}.py", name)
        path.write_text("from . import helper\n" + path.read_text())
    parsed: list[str] = []
    parse = ast.parse

    def counted(source: bytes, filename: str) -> ast.Module:
        parsed.append(Path(filename).name)
        return parse(source, filename)

    def read_all() -> list[str]:
        parsed.clear()
        with monkeypatch.context() as patch:
            patch.setattr(ast, "parse", counted)
            for registry in open_catalogue([tmp_path]).registries().values():
                for plugin in registry.plugins():
                    plugin.source_hash()
                    plugin.docstring()
        return sorted(parsed)

    neighbours._parsed.cache_clear()
    first = read_all()
    assert {"helper.py", "one.py", "two.py", "sadm.py", "pointnet.py", "shapes.py"} <= set(first)
    assert len(first) == len(set(first))
    write(tmp_path / "helper.py", "x = 2\n")
    assert read_all() == ["helper.py"]


def test_a_plugin_tells_its_name_summary_and_origin(tmp_path: Path) -> None:
    path = method(tmp_path / "any.py", "mine", summary="Does nothing.")
    plugin = found(tmp_path)["mine"]
    line = path.read_text().splitlines().index("class Mine(Method):") + 1
    assert (plugin.kind, plugin.summary, plugin.origin) == ("method", "Does nothing.", f"{path}:{line}")
    assert (plugin.path, plugin.error) == (path, None)
    loaded = open_catalogue([tmp_path]).methods.load("mine")
    assert loaded.name == "mine"
    assert sys.modules[loaded.__module__].__file__ == str(path)
    assert loaded is plugin.load()


def test_listing_is_sorted_by_name(tmp_path: Path) -> None:
    for stem, name in (("a", "zeta"), ("b", "alpha"), ("c", "mid")):
        method(tmp_path / f"{stem}.py", name)
    names = [plugin.name for plugin in open_catalogue([tmp_path]).methods.plugins()]
    assert names == sorted(names)
    assert {"zeta", "alpha", "mid"} <= set(names)


def test_a_folder_may_hold_all_kinds_and_subfolders(tmp_path: Path) -> None:
    method(tmp_path / "flat.py", "flat")
    method(tmp_path / "methods" / "deep.py", "deep")
    write(
        tmp_path / "net.py",
        '''
        from pcbench import api
        class Net(api.Backbone):
            """A net."""
            name = "net"
            presets = {"small": {}, "large": {}}
            def __init__(self, classes): super().__init__(classes)
            def forward(self, xyz): return xyz
            embed = global_feature = point_features = forward
        ''',
    )
    write(
        tmp_path / "datasets" / "cubes.py",
        '''
        from pcbench.api import Dataset
        class Cubes(Dataset):
            """Cubes."""
            name: str = "cubes"
            variant, up_axis, classes, train_size, test_size = "all", "z", 2, 3, 4
            def present(self): return True
            def how_to_get(self): return "nothing to do"
            def load(self, points): raise NotImplementedError
        ''',
    )
    assert {"flat", "deep"} <= found(tmp_path).keys()
    assert "net" not in found(tmp_path)
    catalogue = open_catalogue([tmp_path])
    assert catalogue.backbones.load("net").__name__ == "Net"
    assert catalogue.backbone("net")[1] == "small"
    assert catalogue.backbone("net:large")[1] == "large"
    assert open_catalogue([tmp_path]).datasets.load("cubes").classes == 2


def test_skipped_files_and_abstract_classes_are_no_plugins(tmp_path: Path) -> None:
    for stem in ("_private", "test_mine", "conftest"):
        method(tmp_path / f"{stem}.py", f"from-{stem}")
    before = found()
    write(
        tmp_path / "family.py",
        '''
        from pcbench.api import Method as Contract
        class Base(Contract):
            """Abstract: it has no name."""
            def distill(self, task): yield
        class Leaf(Base):
            """A leaf."""
            name = "leaf"
        class Other:
            name = "other"
        ''',
    )
    assert found(tmp_path).keys() - before.keys() == {"leaf"}


def test_unknown_name_suggests_near_ones(tmp_path: Path) -> None:
    method(tmp_path / "mine.py", "sinkhorn")
    with pytest.raises(UsageError, match=r"^unknown method 'sinkorn'\. Did you mean sinkhorn\?$"):
        open_catalogue([tmp_path]).methods.get("sinkorn")
    with pytest.raises(UsageError, match=r"unknown preset 'canonicl' of backbone 'pointnet'.*canonical"):
        open_catalogue().backbone("pointnet:canonicl")
    with pytest.raises(UsageError, match="unknown preset ''"):
        open_catalogue().backbone("pointnet:")
    with pytest.raises(UsageError, match=r"unknown backbone 'pointnett'.*pointnet"):
        open_catalogue().backbone("pointnett:paper")


def test_split_spec() -> None:
    assert split_spec("pointnet:canonical") == ("pointnet", "canonical")
    assert split_spec("pointnet") == ("pointnet", None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "import no_such_module_anywhere\n" + METHOD,
            "ModuleNotFoundError: No module named 'no_such_module_any",
        ),
        ("raise RuntimeError('two\\nlines')\n" + METHOD, "RuntimeError: two lines"),
        ("raise SystemExit(3)\n" + METHOD, "SystemExit: 3"),
        (METHOD.replace("distill", "distil"), "it lacks distill"),
        (METHOD + "\n    name = name + 'x'\n", "its name turned into 'brokenx'"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_listed_with_its_reason(
    tmp_path: Path, text: str, reason: str
) -> None:
    method(tmp_path / "good.py", "good")
    path = write(tmp_path / "file.py", text.format(cls="Broken", name="broken", summary="Broken."))
    message = error_of("broken", tmp_path)
    assert reason in message
    assert f"{path}:" in message
    registry = open_catalogue([tmp_path]).methods
    assert registry.load("good").name == "good"
    with pytest.raises(UsageError, match="method 'broken' cannot be used: "):
        registry.load("broken")


def test_the_line_of_the_failure_is_named(tmp_path: Path) -> None:
    write(tmp_path / "helper.py", "one = 1\nraise ValueError('bad helper')\n")
    method(tmp_path / "file.py", "broken")
    (tmp_path / "file.py").write_text("from . import helper\n" + (tmp_path / "file.py").read_text())
    assert error_of("broken", tmp_path) == f"ValueError: bad helper ({tmp_path / 'helper.py'}:2)"


@pytest.mark.parametrize(
    "content", [b"from pcbench.api import Method\nclass (\n", b"\xff\xfe\x00 Method", b"\0"]
)
def test_a_file_that_cannot_be_parsed_is_listed_under_its_stem(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mangled.py").write_bytes(content)
    assert f"{tmp_path / 'mangled.py'}" in error_of("mangled", tmp_path)
    backbones = {plugin.name for plugin in open_catalogue([tmp_path]).backbones.plugins()}
    assert ("mangled" in backbones) is (b"Method" not in content)


def test_what_is_no_file_does_not_stop_the_listing(tmp_path: Path) -> None:
    method(tmp_path / "good.py", "good")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "dangling.py").symlink_to(tmp_path / "gone.py")
    listed = found(tmp_path)
    assert listed["good"].error is None
    assert "folder" not in listed
    assert "FileNotFoundError" in (listed["gone"].error or "")


def test_a_broken_file_does_not_clash_with_a_plugin_of_that_name(tmp_path: Path) -> None:
    method(tmp_path / "fine.py", "mangled")
    write(tmp_path / "mangled.py", "class (")
    assert open_catalogue([tmp_path]).methods.load("mangled").name == "mangled"


def test_a_built_in_file_is_checked_without_importing_it(tmp_path: Path) -> None:
    method(tmp_path / "fine.py", "fine")
    (tmp_path / "fine.py").write_text("raise RuntimeError('imported')\n" + (tmp_path / "fine.py").read_text())
    method(tmp_path / "missing.py", "missing")
    (tmp_path / "missing.py").write_text("import no_such.module\n" + (tmp_path / "missing.py").read_text())
    write(tmp_path / "syntax.py", "from pcbench.api import Method\nclass Broken(Method)\n")
    registry = Registry("method", tmp_path)
    errors = {plugin.name: plugin.error for plugin in registry.plugins()}
    assert errors["fine"] is None
    assert (
        errors["missing"] == f"ModuleNotFoundError: No module named 'no_such' ({tmp_path / 'missing.py'}:1)"
    )
    assert errors["syntax"] == f"SyntaxError: expected ':' ({tmp_path / 'syntax.py'}:2)"


def test_names_are_checked(tmp_path: Path) -> None:
    method(tmp_path / "file.py", "a b/../c")
    assert "letters, digits" in error_of("a b/../c", tmp_path)


@pytest.mark.parametrize("same_file", [True, False])
def test_a_name_twice_names_both_files(tmp_path: Path, same_file: bool) -> None:
    first = method(tmp_path / "one" / "first.py", "twin")
    second = first if same_file else method(tmp_path / "two" / "second.py", "twin", cls="Other")
    if same_file:
        first.write_text(first.read_text() + METHOD.format(cls="Other", name="twin", summary="Again."))
    with pytest.raises(UsageError, match="two methods are called 'twin'") as caught:
        open_catalogue([tmp_path / "one", tmp_path / "two"][: 1 if same_file else 2]).methods.get("twin")
    assert str(caught.value).count(f"{first}:") == (2 if same_file else 1)
    assert f"{second}:" in str(caught.value)


def test_a_built_in_name_cannot_be_taken(tmp_path: Path) -> None:
    write(
        tmp_path / "mine.py",
        'from pcbench.api import Backbone\nclass Mine(Backbone):\n    name = "pointnet"\n',
    )
    with pytest.raises(UsageError, match=r"backbones/pointnet\.py:\d+ and .*mine\.py:2|mine\.py:2 and "):
        open_catalogue([tmp_path]).backbones.plugins()


def test_one_file_by_several_routes_is_one_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method(tmp_path / "real" / "mine.py", "mine")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "alias.py").symlink_to(tmp_path / "real" / "mine.py")
    folders = [tmp_path / "real", tmp_path / "link", tmp_path / "other"]
    monkeypatch.setenv("PCBENCH_PLUGINS", os.pathsep.join(map(str, [*folders, tmp_path / "real"])))
    assert found(*folders)["mine"].error is None


def test_the_environment_names_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method(tmp_path / "a" / "a.py", "from-a")
    method(tmp_path / "b" / "b.py", "from-b")
    monkeypatch.setenv("PCBENCH_PLUGINS", f"{tmp_path / 'a'}{os.pathsep}{os.pathsep}{tmp_path / 'b'}")
    assert {"from-a", "from-b"} <= found().keys()
    monkeypatch.setenv("PCBENCH_PLUGINS", str(tmp_path / "absent"))
    with pytest.raises(UsageError, match=r"PCBENCH_PLUGINS names .*absent"):
        open_catalogue()
    with pytest.raises(UsageError, match=r"gone is no folder"):
        open_catalogue([tmp_path / "gone"])


def test_the_current_directory_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method(tmp_path / "here.py", "here")
    method(tmp_path / "methods" / "below.py", "below")
    monkeypatch.chdir(tmp_path)
    assert not {"here", "below"} & found().keys()
    monkeypatch.setenv("PCBENCH_PLUGINS", os.pathsep)
    assert not {"here", "below"} & found().keys()
    assert {"here", "below"} <= found(Path()).keys()


def test_what_a_plugin_prints_does_not_reach_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = method(tmp_path / "mine.py", "mine")
    path.write_text("print('noise')\n" + path.read_text())
    assert found(tmp_path)["mine"].error is None
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "noise" in captured.err


def test_other_plugins_are_not_imported_by_a_load(tmp_path: Path) -> None:
    method(tmp_path / "mine.py", "mine")
    path = method(tmp_path / "slow.py", "slow")
    marker = tmp_path / "imported"
    path.write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n" + path.read_text())
    assert open_catalogue([tmp_path]).methods.load("mine").name == "mine"
    assert not marker.exists()


def install(site: Path, entries: str) -> None:
    write(
        site / "extra_pack-1.0.dist-info" / "METADATA",
        "Metadata-Version: 2.1\nName: extra-pack\nVersion: 1.0\n",
    )
    write(site / "extra_pack-1.0.dist-info" / "entry_points.txt", entries)


def test_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "extra_pack_a" / "__init__.py", "")
    write(tmp_path / "extra_pack_a" / "util.py", "ONE = 1\n")
    write(tmp_path / "unrelated_of_site.py", "TWO = 2\n")
    path = method(tmp_path / "extra_pack_a" / "mine.py", "packed", summary="From a package.")
    path.write_text("import unrelated_of_site\nfrom extra_pack_a.util import ONE\n" + path.read_text())
    install(
        tmp_path,
        """
        [pcbench.methods]
        packed = extra_pack_a.mine:Mine
        absent = extra_pack_a.nowhere:Mine
        misnamed = extra_pack_a.mine:Mine
        number = extra_pack_a.util:ONE
        """,
    )
    monkeypatch.syspath_prepend(tmp_path)
    named = open_catalogue().methods.get("packed")
    assert (named.summary, named.origin.startswith(f"{path}:")) == ("From a package.", True)
    listed = found()
    assert (listed["packed"].summary, listed["packed"].error) == ("From a package.", None)
    assert listed["packed"].origin.startswith(f"{path}:")
    assert "No module named 'extra_pack_a.nowhere'" in (listed["absent"].error or "")
    assert "its name turned into 'packed'" in (listed["misnamed"].error or "")
    assert "no subclass" in (listed["number"].error or "")
    assert open_catalogue().methods.load("packed").name == "packed"
    assert found(tmp_path / "extra_pack_a")["packed"].error is None
    before = listed["packed"].source_hash()
    write(tmp_path / "unrelated_of_site.py", "TWO = 3\n")
    assert found()["packed"].source_hash() == before
    write(tmp_path / "extra_pack_a" / "util.py", "ONE = 2\n")
    assert found()["packed"].source_hash() != before


def test_an_entry_point_is_read_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "extra_pack_b" / "__init__.py", "raise SystemExit('imported')\n")
    method(tmp_path / "extra_pack_b" / "mine.py", "unimported")
    install(tmp_path, "[pcbench.methods]\nunimported = extra_pack_b.mine:Mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugin = open_catalogue().methods.get("unimported")
    assert plugin.error is None
    assert len(plugin.source_hash()) == 64
    assert "extra_pack_b" not in sys.modules
    with pytest.raises(UsageError, match="imported"):
        plugin.load()


def test_built_in_folders_travel_with_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = Path(loading.__file__).resolve().parents[2]
    assert builtin("methods") == checkout / "methods"
    installed = tmp_path / "site-packages" / "pcbench"
    method(installed / "_builtin" / "methods" / "a.py", "carried")
    monkeypatch.setattr(packaged, "__file__", str(installed / "common" / "packaged.py"))
    assert builtin("methods") == installed / "_builtin" / "methods"
    assert found().keys() == {"carried"}


@pytest.mark.parametrize("folder", ["methods", "backbones"])
def test_built_in_plugins_import_only_the_public_face(folder: str) -> None:
    """Of pcbench they see the contracts and the operations, as a user's plugin would.

    Relatively a plugin imports what it derives from, `from .dm import DM`, and private halves of its own,
    `from ._attention import attend`.
    """
    files = sorted(builtin(folder).glob("*.py"))
    assert files
    for path in files:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
        bases = {
            part.id
            for node in classes
            for base in node.bases
            for part in ast.walk(base)
            if isinstance(part, ast.Name)
        }
        imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        for near in (node for node in imports if node.level):
            names = {alias.name for alias in near.names}
            private = all(name.startswith("_") for name in ([near.module] if near.module else names))
            assert near.level == 1
            assert private or bases & names, path
        modules = {str(node.module) for node in imports if not node.level}
        own = {module for module in modules if module.partition(".")[0] in ("pcbench", folder)}
        assert all(module == "pcbench.api" or f"{module}.".startswith("pcbench.ops.") for module in own), path
