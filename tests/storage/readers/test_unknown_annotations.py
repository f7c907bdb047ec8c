"""Annotations of tools that no reader knows: refused with what to do; and files beside images that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.errors import SourceError
from storage.readers.open_source import detect_format, open_source
from tests.tool_sources import write_files

VIA = {
    "im0.jpg9": {
        "filename": "im0.jpg",
        "size": 9,
        "regions": [{"shape_attributes": {"name": "rect", "x": 1}}],
    }
}
SUPERVISELY = {
    "size": {"height": 60, "width": 80},
    "objects": [{"classTitle": "cat", "points": {"exterior": []}}],
}
LABEL_STUDIO = [{"id": 1, "annotations": [{"result": []}], "data": {"image": "/data/upload/1/im0.jpg"}}]
VOTT = {
    "assets": {
        "1": {"asset": {"name": "im0.jpg"}, "regions": [{"tags": ["cat"], "boundingBox": {"left": 1}}]}
    }
}
KITTI = "Car 0.00 0 -1.57 10.00 10.00 30.00 25.00 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n"
OPEN_IMAGES = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\nim0,xclick,/m/01yrx,1,0.1,0.4,0.2,0.4\n"
)
VIA_CSV = (
    'filename,file_size,region_count,region_shape_attributes\nim0.jpg,9,1,"{""name"":""rect"",""x"":1}"\n'
)


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        ("via_region_data.json", json.dumps(VIA), "export it as COCO from VIA"),
        ("via_export_csv.csv", VIA_CSV, "export it as COCO from VIA"),
        ("ann/im0.jpg.json", json.dumps(SUPERVISELY), "export it as COCO or Pascal VOC from Supervisely"),
        ("oidv6-train.csv", OPEN_IMAGES, "convert the tables of Open Images to COCO"),
        ("label_2/im0.txt", KITTI, "classes.txt"),
        ("labelTxt/im0.txt", "10 10 30 10 30 25 10 25 plane 0\n", "classes.txt"),
        ("im0.txt", "0 0.5 0.5 0.1 0.1\n", "classes.txt"),
        ("train.tfrecord", "", "export them as COCO"),
        ("train.tfrecord-00000-of-00002", "", "export them as COCO"),
        ("project-1-at-2024.json", json.dumps(LABEL_STUDIO), "export them as COCO"),
        ("vott-export.json", json.dumps(VOTT), "export"),
        ("train.csv", "im0.jpg,10,10,30,25,cat\n", "export them as COCO"),
        ("wider.txt", "im0.jpg\n1\n10 10 20 15 0 0\n", "classes.txt"),
        ("keras.txt", "im0.jpg 10,10,30,25,0 45,30,65,50,1\n", "classes.txt"),
        ("gt/gt.txt", "1,1,10,10,20,15,1,1,1\n2,1,11,10,20,15,1,1,1\n", "classes.txt"),
        (
            "metadata.jsonl",
            '{"file_name": "im0.jpg", "objects": {"bbox": [[1]]}}\n',
            "export them as COCO",
        ),
        (
            "output.manifest",
            '{"source-ref": "s3://a/im0.jpg", "annotations": []}\n',
            "export them as COCO",
        ),
        ("_annotations.createml.json", "[]", "export them as COCO"),
        ("custom.yaml", "nc: 1\nnames: [cat]\n", "data.yaml"),
        ("digitStruct.mat", "", "export them as COCO"),
        ("im0.xml", "<svg></svg>", "export them as COCO"),
        ("broken.xml", "", "export them as COCO"),
    ],
)
def test_annotations_of_an_unknown_kind_are_refused_with_what_to_do(
    tmp_path: Path, name: str, text: str, advice: str
) -> None:
    write_files(tmp_path, {"images/im0.jpg": None, "README.txt": "Pictures of cats.\n", name: text})
    with pytest.raises(SourceError, match=r"looked for .*data\.yaml") as caught:
        open_source(str(tmp_path))
    message = str(caught.value)
    assert f"such as {name}: " in message
    assert advice in message
    assert message.endswith("or take the images without labels by --format folder")
    assert open_source(str(tmp_path), kind="folder").images.truth is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "README.txt",
            "100 pictures of cats and dogs, each with a label in the file name. Class: mammals.\n",
        ),
        ("LICENSE.txt", "CC BY 4.0\n\n1. Definitions: objects, boxes\n"),
        ("Thumbs.db", "\0\1"),
        ("metadata.csv", "file_name,license,photographer,date\nim0.jpg,CC0,Ada,2024-01-02\n"),
        ("sizes.csv", "file_name,width,height,bytes,channels\nim0.jpg,80,60,5123,3\n"),
        ("exif.json", '{"im0.jpg": {"camera": "X100", "iso": 200, "taken": "2024-01-02"}}'),
        ("metadata.jsonl", '{"file_name": "im0.jpg", "text": "two cats"}\n'),
        ("train.txt", "images/im0.jpg\n"),
        ("urls.txt", "https://example.org/1/2/3/4/im0.jpg\n"),
        ("checksums.md5", "9e107d9d372bb6826bd81d3542a419d6  im0.jpg\n"),
        ("config.yaml", "camera: X100\nresolution: [80, 60]\n"),
        ("notes.md", "# Notes\n"),
        ("sub/desktop.ini", "[.ShellClassInfo]\n"),
    ],
)
def test_files_beside_images_that_are_no_annotations_leave_them_unlabeled(
    tmp_path: Path, name: str, text: str
) -> None:
    write_files(tmp_path, {"images/im0.jpg": None, name: text})
    assert detect_format(str(tmp_path)) == "folder"
    source = open_source(str(tmp_path)).images
    assert source.truth is None
    assert source.num_ignored == 1


def test_files_beyond_those_that_are_looked_into_count_as_annotations(tmp_path: Path) -> None:
    write_files(tmp_path, {"im0.jpg": None} | {f"a{number}.json": "{}" for number in range(60)})
    with pytest.raises(SourceError, match="got 10 files of annotations among 1 images"):
        open_source(str(tmp_path))
