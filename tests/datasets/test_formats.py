"""Readers of one file: what is read bit for bit, what is refused and where; only DataError comes out."""

import gzip
import io
import os

import h5py
import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pypcd4.pypcd4 import Encoding, PointCloud

from pcbench.datasets.formats import content as contents
from pcbench.datasets.formats import read_cloud
from pcbench.datasets.formats.content import Flaw, Mesh, read_bytes
from pcbench.errors import DataError

TRIANGLE = "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"


def read(tmp_path, name, content, columns=None):
    path = tmp_path / name
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(content)
    return read_cloud(path, content, columns)


def refused(tmp_path, name, content, *words, columns=None):
    with pytest.raises(Flaw) as caught:
        read(tmp_path, name, content, columns)
    for word in words:
        assert word in str(caught.value)
    assert str(caught.value)[0] in " :"
    assert "\n" not in str(caught.value)


def some_points(count=7, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3)).astype(np.float32)


class TestText:
    def test_of_six_columns(self, tmp_path):
        points = some_points()
        lines = "\n".join(",".join(f"{value:.6f}" for value in (*p, 0, 0, 1)) for p in points)
        assert np.array_equal(
            read(tmp_path, "a.txt", lines, 6), [[float(f"{v:.6f}") for v in p] for p in points]
        )

    @pytest.mark.parametrize("separator", [" ", "\t", ",", ", ", "   "])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("columns", [3, 4])
    def test_bit_for_bit(self, tmp_path, separator, end, columns):
        points = some_points()
        rows = (separator.join([*(repr(float(v)) for v in p), "7"][:columns]) for p in points)
        assert np.array_equal(read(tmp_path, "a.txt", end.join(rows) + end), points)

    @pytest.mark.parametrize(
        ("text", "columns", "words"),
        [
            ("1,2,3,4,5,6\n1,2,3,4,5\n", 6, (":2:", "5 columns instead of 6")),
            ("1,2,3\n1,2,3\n", 6, (":1:", "3 columns instead of 6")),
            ("1 2 3 4 5 6\n", 6, (":1:", "1 columns instead of 6")),
            ("\n1 2 3\n\n1 2\n", None, (":4:", "2 columns instead of 3")),
            ("1 2 3\n1 2 x\n", None, (":2:", "'x' is no number")),
            ("1 2\n1 2\n", None, ("2 columns instead of 3 or more",)),
            ("", None, ("empty",)),
            (" \n\n", None, ("empty",)),
            ("1 2 3\n1 nan 3\n", None, ("point 2", "not finite")),
            ("1 2 3\n1 2 inf\n", None, ("point 2", "not finite")),
            (b"1 2 3\n1 \xff 3\n", None, (":2:", "no text of numbers")),
        ],
    )
    def test_refusals(self, tmp_path, text, columns, words):
        refused(tmp_path, "a.txt", text, *words, columns=columns)

    @given(st.text(alphabet="0123456789.,-+e naif\n\r\t#_x\x00é", max_size=60) | st.text(max_size=30))
    @example("1_0 2 3")
    @example("1 2 3 #")
    @example('"1" 2 3')
    @settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_of_any_content_gives_points_or_a_data_error(self, tmp_path, text):
        gives_points_or_a_data_error(tmp_path / "a.txt", text.encode())

    @given(st.binary(max_size=60), st.sampled_from([None, 6]))
    def test_of_any_bytes(self, tmp_path_factory, content, columns):
        gives_points_or_a_data_error(tmp_path_factory.getbasetemp() / "a.txt", content, columns)


def gives_points_or_a_data_error(path, content, columns=None):
    try:
        found = read_cloud(path, content, columns)
    except DataError:
        return
    points = found.vertices if isinstance(found, Mesh) else found
    assert points.shape[1] == 3
    assert np.isfinite(points).all()
    if isinstance(found, Mesh):
        sample = found.sample(5, np.random.default_rng(0))
        assert np.isfinite(sample).all()


class TestHeadsOfTexts:
    @pytest.mark.parametrize(
        "text",
        [
            "\ufeff{0}",
            "x,y,z\n{0}",
            '"X","Y","Z"\n{0}',
            "# made by hand\n\n# x y z\n{0}",
            "//X Y Z\n7\n{0}",
            "7\n{0}",
        ],
    )
    @pytest.mark.parametrize("separator", [",", ";", " ", "\t"])
    def test_under_a_head(self, tmp_path, text, separator):
        points = some_points().astype(np.float64)
        rows = "\n".join(separator.join(map(repr, p)) for p in points.tolist())
        content = text.format(rows).replace(",", separator) if text[0] in 'x"' else text.format(rows)
        assert np.array_equal(read(tmp_path, "a.csv", content), points)
        ends = content.replace("\n", f"{separator}\r\n") + separator if separator in ",;" else content
        if text == "\ufeff{0}":
            assert np.array_equal(read(tmp_path, "a.csv", ends), points)
            assert np.array_equal(read(tmp_path, "a.csv", rows.encode("utf-16")), points)

    def test_whose_head_names_the_columns(self, tmp_path):
        points = some_points().astype(np.float64)
        rows = "\n".join(f"{i},{p[2]!r},{p[0]!r},9,{p[1]!r}" for i, p in enumerate(points.tolist()))
        assert np.array_equal(read(tmp_path, "a.csv", f"id,z,x,intensity,y\n{rows}\n"), points)
        assert read(tmp_path, "a.csv", ",x,y,z\n0,1,2,3\n1,4,5,6\n").tolist() == [[1, 2, 3], [4, 5, 6]]
        assert read(tmp_path, "a.csv", "x,y,z,kind\n1,2,3,oak\n").tolist() == [[1, 2, 3]]
        assert read(tmp_path, "a.txt", "//X Y Z Scalar field\n1 2 3 4\n").tolist() == [[1, 2, 3]]
        assert read(tmp_path, "a.csv", "east,north,height\n1,2,3\n").tolist() == [[1, 2, 3]]
        refused(tmp_path, "a.csv", "a,b,x,y,z\n1,2,3,4\n", ":1:", "5 columns are named, and there are 4")
        refused(
            tmp_path,
            "a.csv",
            "id,east,north,height\n1,2,3,4\n",
            ":1:",
            "id, east, north, height",
            "x, y and z",
        )
        refused(tmp_path, "a.csv", "kind,x,y,z\noak,1,2,3\noak,1,2,three\n", ":3:", "'three' is no number")

    def test_whose_lines_end_as_on_old_machines(self, tmp_path):
        assert read(tmp_path, "a.txt", "1 2 3\r4 5 6\r").tolist() == [[1, 2, 3], [4, 5, 6]]

    def test_with_comments_among_the_points(self, tmp_path):
        assert read(tmp_path, "a.txt", "1 2 3 # good\n# half\n4 5 6\n# end\n").tolist() == [
            [1, 2, 3],
            [4, 5, 6],
        ]

    def test_with_decimal_commas(self, tmp_path):
        assert read(tmp_path, "a.csv", "1;2;3\n1,5;2,5;-3,25\n").tolist() == [[1, 2, 3], [1.5, 2.5, -3.25]]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("8\n1 2 3\n4 5 6\n", (":1:", "8 points are announced, and 2 lines follow")),
            ("x,y,z\nScans of chairs\n1,2,3\n", (":2:", "'Scans' is no number")),
            ("Scans of chairs\n", (":1:", "no table of numbers")),
            ("1 2 3\n1 2 # good\n", (":2:", "2 columns instead of 3")),
        ],
    )
    def test_refusals_of_heads(self, tmp_path, text, words):
        refused(tmp_path, "a.txt", text, *words)


class TestOff:
    def test_on_a_line_of_its_own_or_not(self, tmp_path):
        one = read(tmp_path, "a.off", TRIANGLE)
        other = read(tmp_path, "b.off", TRIANGLE.replace("OFF\n", "OFF"))
        third = read(tmp_path, "c.off", TRIANGLE.replace("OFF\n", "OFF "))
        assert np.array_equal(one.vertices, [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
        assert one.content() == other.content() == third.content()

    def test_bit_for_bit(self, tmp_path):
        points = some_points(20).astype(np.float64)
        rows = "\n".join(" ".join(map(repr, map(float, p))) for p in points)
        faces = "\n".join(f"3 {i} {i + 1} {i + 2}" for i in range(18))
        mesh = read(tmp_path, "a.off", f"OFF\n# made here\n20 18 0\n{rows}\n\n{faces}\n")
        assert np.array_equal(mesh.vertices, points)
        assert mesh.triangles.tolist() == [[i, i + 1, i + 2] for i in range(18)]

    def test_polygons_become_triangles(self, tmp_path):
        square = "OFF\n5 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n0 0 1\n4 0 1 2 3 255 0 0\n5 0 1 2 3 4\n"
        mesh = read(tmp_path, "a.off", square)
        assert mesh.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 2, 3], [0, 3, 4]]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (("OFF", "PLY"), (":1:", "begins with the word OFF")),
            (("3 1 0", "4 1 0"), (":2:", "4 vertices and 1 faces are announced", "4 lines")),
            (("3 1 0", "3 2 0"), (":2:", "3 vertices and 2 faces")),
            (("3 1 0", "3 0 0"), (":2:", "0 faces")),
            (("3 1 0", "999999999 999999999 0"), (":2:", "999999999 vertices")),
            (("3 1 0", "-3 1 0"), (":2:", "numbers of vertices")),
            (("3 1 0", "3"), (":2:", "numbers of vertices")),
            (("3 1 0", "1e99 1 0"), (":2:", "numbers of vertices")),
            (("1 0 0", "1 0"), (":4:", "2 of 3 coordinates")),
            (("1 0 0", "1 0 x"), ("no readable OFF",)),
            (("1 0 0", "1 0 nan"), ("point 2", "not finite")),
            (("0 1 2\n", "0 1 3\n"), (":6:", "outside its 3 vertices")),
            (("0 1 2\n", "0 1 -1\n"), (":6:", "outside its 3 vertices")),
            (("3 0 1 2\n", "3 0 1\n"), (":6:", "2 corners of 3")),
            (("3 0 1 2\n", "x 0 1 2\n"), (":6:", "whole numbers")),
            (("3 0 1 2\n", "0\n"), (":6:", "corners")),
            (("3 0 1 2\n", "2 0 1\n"), ("none of its faces has three corners",)),
            (("0 1 0", "2 0 0"), ("no area",)),
        ],
    )
    def test_refusals(self, tmp_path, change, words):
        refused(tmp_path, "a.off", TRIANGLE.replace(*change), *words)

    def test_refuses_what_is_no_text(self, tmp_path):
        refused(tmp_path, "a.off", b"OFF\n3 1 0\n\xff", ":3:", "no text")
        refused(tmp_path, "a.off", b"", "begins with the word OFF")

    @pytest.mark.parametrize(
        ("kind", "more"),
        [
            ("COFF", " 255 0 0 255"),
            ("NOFF", " 0 0 1"),
            ("STOFF", " .5 .5"),
            ("STCNOFF", " 0 0 1 1 0 0 1 .5 .5"),
        ],
    )
    def test_with_colours_normals_and_places_in_a_texture(self, tmp_path, kind, more):
        plain = read(tmp_path, "a.off", TRIANGLE)
        rows = TRIANGLE.replace("OFF", kind)
        for vertex in ("0 0 0\n", "1 0 0\n", "0 1 0\n"):
            rows = rows.replace(f"\n{vertex}", f"\n{vertex.strip()}{more}\n", 1)
        assert read(tmp_path, "b.off", rows).content() == plain.content()
        free = " ".join(rows.split()).replace(f"{kind} ", f"{kind}\n", 1).replace("3 1 0 ", "3 1 0\n", 1)
        assert read(tmp_path, "c.off", free).content() == plain.content()

    def test_on_free_lines(self, tmp_path):
        plain = read(tmp_path, "a.off", TRIANGLE)
        head, rest = TRIANGLE[: TRIANGLE.index("0 0 0")], TRIANGLE[TRIANGLE.index("0 0 0") :].split()
        for separator in (" ", "\n"):
            for start in (head, head.replace("\n", " "), "OFF\n3\n1\n0\n"):
                assert read(tmp_path, "b.off", start + separator.join(rest)).content() == plain.content()
        refused(tmp_path, "c.off", head + " ".join(rest[:-1]), ":2:", "that do not hold them")
        refused(tmp_path, "c.off", head + " ".join([*rest, "7"]), ":2:", "that do not hold them")

    def test_of_points_alone(self, tmp_path):
        rows = "\n".join(" ".join(map(repr, p)) for p in some_points().astype(float).tolist())
        assert np.array_equal(read(tmp_path, "a.off", f"OFF\n7 0 0\n{rows}\n"), some_points())

    @pytest.mark.parametrize(("word", "told"), [("4OFF", "three coordinates"), ("OFF BINARY", "binary OFF")])
    def test_other_kinds_are_named(self, tmp_path, word, told):
        refused(tmp_path, "a.off", TRIANGLE.replace("OFF", word), told)

    @given(st.integers(0, 60), st.integers(0, 60), st.text(alphabet="0123456789.-OF \n#e", max_size=8))
    def test_of_any_change_gives_a_mesh_or_a_data_error(self, tmp_path_factory, first, last, text):
        content = (TRIANGLE[:first] + text + TRIANGLE[last:]).encode()
        gives_points_or_a_data_error(tmp_path_factory.getbasetemp() / "a.off", content)

    @given(st.binary(max_size=80))
    def test_of_any_bytes(self, tmp_path_factory, content):
        gives_points_or_a_data_error(tmp_path_factory.getbasetemp() / "a.off", b"OFF" + content)


class TestOtherMeshes:
    @pytest.fixture
    def box(self):
        return trimesh.creation.box((1, 2, 3))

    @pytest.mark.parametrize("kind", ["off", "obj", "ply"])
    def test_surface(self, tmp_path, box, kind):
        content = box.export(file_type=kind)
        mesh = read(tmp_path, f"a.{kind}", content)
        assert mesh.area() == pytest.approx(22)
        assert np.allclose(np.sort(mesh.vertices, 0), np.sort(box.vertices, 0))

    @pytest.mark.parametrize("kind", ["stl", "stl_ascii"])
    def test_surface_of_stl(self, tmp_path, box, kind):
        assert read(tmp_path, "a.STL", box.export(file_type=kind)).area() == pytest.approx(22)
        refused(tmp_path, "a.stl", b"solid nothing")

    def test_ply_with_a_texture_keeps_its_vertices(self, tmp_path, capfd):
        """trimesh would split them by their places in the texture, and print that the picture is missing."""
        corners = "".join(f"{x} {y} {x * y}\n" for x in (0, 1) for y in (0, 1))
        head = "ply\nformat ascii 1.0\ncomment TextureFile skin.png\nelement vertex 4\n"
        head += "".join(f"property double {axis}\n" for axis in "xyz") + "element face 2\n"
        head += "property list uchar int vertex_indices\nproperty list uchar float texcoord\nend_header\n"
        faces = "3 0 1 2 6 0 0 1 0 0 1\n3 1 3 2 6 .5 .5 1 1 0 1\n"
        mesh = read(tmp_path, "a.ply", head + corners + faces)
        assert mesh.vertices.tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 1]]
        assert mesh.triangles.tolist() == [[0, 1, 2], [1, 3, 2]]
        assert capfd.readouterr() == ("", "")

    def test_ply_with_other_elements(self, tmp_path):
        points = some_points()
        head = "ply\nformat ascii 1.0\nobj_info scanned\nelement camera 1\nproperty float view_px\n"
        head += "element vertex 7\nproperty uchar red\n" + "".join(f"property float {a}\n" for a in "xyz")
        head += "property float quality\nend_header\n.5\n"
        rows = "".join("255 {!r} {!r} {!r} 1\n".format(*p) for p in points.astype(float).tolist())
        assert np.array_equal(read(tmp_path, "a.ply", head + rows), points)

    def test_ply_of_strips_is_named(self, tmp_path):
        head = "ply\nformat ascii 1.0\nelement vertex 3\n" + "".join(f"property float {a}\n" for a in "xyz")
        head += "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
        refused(tmp_path, "a.ply", head + "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "triangle strips (tristrips)")

    def test_points_alone(self, tmp_path):
        points = some_points()
        cloud = trimesh.PointCloud(points)
        assert np.array_equal(read(tmp_path, "a.ply", cloud.export(file_type="ply")), points)
        lines = "".join(f"v {x!r} {y!r} {z!r}\n" for x, y, z in points.astype(float).tolist())
        assert np.array_equal(read(tmp_path, "a.obj", lines), points)

    def test_several_objects_in_one_file(self, tmp_path, box):
        text = box.export(file_type="obj")
        faces = [line for line in text.splitlines() if line.startswith("f ")]
        vertices = [line for line in text.splitlines() if line.startswith("v ")]
        both = [
            "mtllib /etc/passwd",
            "o a",
            "usemtl one",
            *vertices,
            *faces[:6],
            "o b",
            "usemtl two",
            *faces[6:],
        ]
        assert read(tmp_path, "a.obj", "\n".join(both) + "\n").area() == pytest.approx(22)

    @pytest.mark.parametrize("kind", ["obj", "ply"])
    @pytest.mark.parametrize("content", [b"", b"nothing", b"ply\nformat ascii 1.0\nend_header\n"])
    def test_refusals(self, tmp_path, kind, content):
        refused(tmp_path, f"a.{kind}", content)

    @pytest.mark.parametrize("count", [3, 9, 10**12])
    def test_a_ply_with_a_wrong_count(self, tmp_path, box, count):
        for encoding in ("ascii", "binary"):
            content = box.export(file_type="ply", encoding=encoding)
            wrong = content.replace(b"element vertex 8", f"element vertex {count}".encode())
            refused(tmp_path, "a.ply", wrong)
        refused(tmp_path, "a.ply", content[:-20])

    @given(st.binary(max_size=60), st.sampled_from(["a.obj", "a.ply"]))
    def test_of_any_bytes(self, tmp_path_factory, content, name):
        head = b"ply\nformat ascii 1.0\n" if name == "a.ply" else b"v 0 0 1\n"
        gives_points_or_a_data_error(tmp_path_factory.getbasetemp() / name, head + content)


class TestSample:
    def test_is_uniform_by_area(self):
        """Two triangles, of areas 1/2 and 3/2."""
        vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5], [3, 0, 5], [0, 1, 5]], np.float64)
        mesh = Mesh(vertices, np.array([[0, 1, 2], [3, 4, 5]]))
        points = mesh.sample(40_000, np.random.default_rng(0)).astype(np.float64)
        upper = points[:, 2] == 5
        assert upper.mean() == pytest.approx(0.75, abs=0.01)
        for part, width in ((points[~upper], 1), (points[upper], 3)):
            assert part[:, 0].mean() == pytest.approx(width / 3, abs=0.02 * width)
            assert part[:, 1].mean() == pytest.approx(1 / 3, abs=0.01)
            assert ((part[:, 0] / width + part[:, 1]) <= 1 + 1e-6).all()

    def test_is_the_same_for_the_same_seed(self):
        mesh = Mesh(np.eye(3), np.array([[0, 1, 2]]))
        one, other, third = (mesh.sample(9, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert np.array_equal(one, other)
        assert not np.array_equal(one, third)


class TestNpy:
    def save(self, array, **how):
        stream = io.BytesIO()
        np.save(stream, array, **how)
        return stream.getvalue()

    @pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
    @pytest.mark.parametrize("columns", [3, 6])
    def test_bit_for_bit(self, tmp_path, dtype, columns):
        array = np.tile(some_points(), (1, 2))[:, :columns].astype(dtype)
        assert np.array_equal(read(tmp_path, "a.npy", self.save(array)), array[:, :3].astype("<f4"))
        fortran = self.save(np.asfortranarray(array))
        assert np.array_equal(read(tmp_path, "a.npy", fortran), array[:, :3].astype("<f4"))

    def test_refusals(self, tmp_path):
        good = self.save(some_points())
        refused(tmp_path, "a.npy", good[:-1], "bytes do not fit")
        refused(tmp_path, "a.npy", good + b"x", "bytes do not fit")
        refused(tmp_path, "a.npy", good.replace(b"(7, 3)", b"(9**9, 3)"[:6]))
        refused(tmp_path, "a.npy", good[:5], "no NumPy array")
        refused(tmp_path, "a.npy", b"", "no NumPy array")
        refused(tmp_path, "a.npy", self.save(np.zeros((7, 2), "<f4")), "(7, 2)")
        refused(tmp_path, "a.npy", self.save(np.zeros((7, 3), "<c8")), "complex64")
        refused(tmp_path, "a.npy", self.save(np.zeros(21, "<f4")), "(21,)")
        refused(tmp_path, "a.npy", self.save(np.zeros((0, 3), "<f4")), "0 points")
        refused(tmp_path, "a.npy", self.save(np.full((7, 3), np.nan, "<f4")), "point 1", "not finite")

    @pytest.mark.parametrize("dtype", ["<i4", ">u2", "<i8"])
    def test_of_whole_numbers(self, tmp_path, dtype):
        whole = (1000 * some_points() + 2000).astype(dtype)
        assert np.array_equal(read(tmp_path, "a.npy", self.save(whole)), whole)

    def test_of_one_cloud_in_a_batch(self, tmp_path):
        assert np.array_equal(read(tmp_path, "a.npy", self.save(some_points()[None])), some_points())
        refused(tmp_path, "a.npy", self.save(np.zeros((2, 7, 3))), "(2, 7, 3)")

    def test_of_records(self, tmp_path):
        table = np.zeros(7, [("intensity", "<f4"), ("x", "<f8"), ("y", "<f8"), ("z", "<i4")])
        table["x"], table["y"], table["z"] = np.arange(21.0).reshape(3, 7)
        assert np.array_equal(read(tmp_path, "a.npy", self.save(table)), np.arange(21.0).reshape(3, 7).T)

    @pytest.mark.parametrize("rows", [3, 6])
    def test_on_its_side_where_that_is_certain(self, tmp_path, rows):
        table = np.random.default_rng(0).normal(size=(rows, 64))
        assert np.array_equal(read(tmp_path, "a.npy", self.save(table)), table[:3].T)
        assert np.array_equal(read(tmp_path, "a.npy", self.save(table.T)), table[:3].T)
        assert read(tmp_path, "a.npy", self.save(table[:, :63])).shape == (rows, 3)

    @pytest.mark.parametrize("names", [("points", "labels"), ("data", "mask"), ("anything",)])
    def test_in_an_archive(self, tmp_path, names):
        stream = io.BytesIO()
        np.savez_compressed(stream, **dict.fromkeys(names, some_points()))
        assert np.array_equal(read(tmp_path, "a.npz", stream.getvalue()), some_points())

    def test_refusals_of_an_archive(self, tmp_path):
        stream = io.BytesIO()
        np.savez(stream, left=some_points(), right=some_points())
        refused(tmp_path, "a.npz", stream.getvalue(), "holds the arrays left, right", "points")
        refused(tmp_path, "a.npz", stream.getvalue()[:-30], "no readable archive")
        stream = io.BytesIO()
        np.savez(stream)
        refused(tmp_path, "a.npz", stream.getvalue(), "holds the arrays none")

    def test_never_unpickles(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "sprung"),)

        content = self.save(np.array([[Trap()] * 3], object), allow_pickle=True)
        refused(tmp_path, "a.npy", content, "object")
        assert not (tmp_path / "sprung").exists()

    @given(st.binary(max_size=60))
    def test_of_any_bytes(self, tmp_path_factory, content):
        path = tmp_path_factory.getbasetemp() / "a.npy"
        gives_points_or_a_data_error(path, content)
        gives_points_or_a_data_error(path, b"\x93NUMPY\x01\x00\x76\x00" + content)


class TestPcd:
    def save(self, tmp_path, encoding, dtype=np.float32, points=None):
        points = some_points() if points is None else points
        fields = (*points.T.astype(dtype), np.arange(len(points), dtype=np.float32))
        PointCloud.from_points(fields, ("x", "y", "z", "intensity"), (*(dtype,) * 3, np.float32)).save(
            tmp_path / "a.pcd", encoding
        )
        return (tmp_path / "a.pcd").read_bytes()

    @pytest.mark.parametrize("encoding", list(Encoding))
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_of_every_encoding(self, tmp_path, encoding, dtype):
        points = np.tile(some_points(), (30, 1))  # fewer are not compressed
        content = self.save(tmp_path, encoding, dtype, points)
        assert f"DATA {encoding.value}\n".encode() in content
        cloud = read(tmp_path, "a.pcd", content)
        assert np.allclose(cloud, points, atol=0 if encoding != Encoding.ASCII else 1e-9)

    def test_of_text_between_several_blanks(self, tmp_path):
        content = self.save(tmp_path, Encoding.ASCII)
        head, _, body = content.partition(b"DATA ascii\n")
        wide = head + b"DATA ascii\n" + body.replace(b" ", b"  \t")
        assert np.array_equal(read(tmp_path, "a.pcd", wide), read(tmp_path, "b.pcd", content))

    def test_absent_points_are_left_out(self, tmp_path):
        points = some_points()
        points[2] = np.nan
        cloud = read(tmp_path, "a.pcd", self.save(tmp_path, Encoding.BINARY, points=points))
        assert np.array_equal(cloud, np.delete(points, 2, 0))

    def test_refusals(self, tmp_path):
        whole = self.save(tmp_path, Encoding.BINARY)
        packed = self.save(tmp_path, Encoding.BINARY_COMPRESSED, points=np.tile(some_points(), (30, 1)))
        refused(tmp_path, "a.pcd", b"", "no line DATA")
        refused(tmp_path, "a.pcd", whole[:-1])
        refused(tmp_path, "a.pcd", packed[:-1], "no readable PCD")
        refused(tmp_path, "a.pcd", whole.replace(b"FIELDS x y z", b"FIELDS u v w"), "u, v, w", "x, y and z")
        refused(tmp_path, "a.pcd", whole.replace(b"POINTS 7", b"POINTS 999999999"), "999999999 points")
        start = packed.index(b"compressed\n") + len(b"compressed\n")
        vast = packed[: start + 4] + b"\xff" * 4 + packed[start + 8 :]
        refused(tmp_path, "a.pcd", vast, "longer than")

    @given(st.binary(max_size=60), st.sampled_from(["ascii", "binary", "binary_compressed"]))
    def test_of_any_bytes(self, tmp_path_factory, content, kind):
        head = "VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 4\nHEIGHT 1\n"
        head += f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 4\nDATA {kind}\n"
        gives_points_or_a_data_error(tmp_path_factory.getbasetemp() / "a.pcd", head.encode() + content)


class TestGzip:
    @pytest.mark.parametrize("name", ["a.txt", "a.off", "a.npy", "a.PLY"])
    def test_of_any_of_these(self, tmp_path, name):
        points = some_points()
        rows = "\n".join(" ".join(map(repr, p)) for p in points.astype(float).tolist())
        stream = io.BytesIO()
        np.save(stream, points)
        content = {
            "a.txt": rows.encode(),
            "a.off": f"OFF\n7 0 0\n{rows}".encode(),
            "a.npy": stream.getvalue(),
            "a.PLY": trimesh.PointCloud(points).export(file_type="ply"),
        }[name]
        assert np.array_equal(read(tmp_path, f"{name}.gz", gzip.compress(content)), points)
        refused(tmp_path, f"{name}.gz", gzip.compress(content)[:-9], "gzip data are damaged")
        refused(tmp_path, f"{name}.gz", content, "gzip data are damaged")


class TestHdf5:
    @pytest.mark.parametrize("key", ["points", "data"])
    def test_bit_for_bit(self, tmp_path, key):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file[key] = some_points()
        assert np.array_equal(read_cloud(tmp_path / "a.h5", b""), some_points())

    @pytest.mark.parametrize("array", [np.zeros((7, 2)), np.zeros((7, 3), bool), np.zeros((1, 7, 3)), 3.0])
    def test_refuses_other_arrays(self, tmp_path, array):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["points"] = array
        with pytest.raises(Flaw, match=r"^: 'points' is"):
            read_cloud(tmp_path / "a.h5", b"")

    def test_refuses_a_claim_of_too_many_points_before_it_reads(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("points", (10**12, 3), "<f4", chunks=(1024, 3))
        with pytest.raises(DataError, match="1000000000000, 3"):
            read_cloud(tmp_path / "a.h5", b"")


class TestBytes:
    def test_a_missing_file(self, tmp_path):
        with pytest.raises(DataError, match=r"a\.txt is missing"):
            read_bytes(tmp_path / "a.txt")

    def test_a_pipe_does_not_hang(self, tmp_path):
        os.mkfifo(tmp_path / "a.txt")
        with pytest.raises(DataError, match="no regular file"):
            read_bytes(tmp_path / "a.txt")

    def test_a_folder(self, tmp_path):
        with pytest.raises(DataError, match="no regular file"):
            read_bytes(tmp_path)

    def test_a_file_that_is_too_long_is_not_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr(contents, "MAX_BYTES", 10)
        (tmp_path / "a.txt").write_bytes(bytes(11))
        with pytest.raises(DataError, match="longer than 10 bytes"):
            read_bytes(tmp_path / "a.txt")
