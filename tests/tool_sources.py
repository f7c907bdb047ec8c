"""What annotation tools export, written small: one image of 80 x 60 with a cat and a dog, and one without objects.

Every function writes one layout into a folder that is empty, as the tool lays it out; the names are those of the
README's table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (80, 60)
CLASSES = ("cat", "dog")
BOXES = {"cat": (10, 10, 30, 25), "dog": (45, 30, 65, 50)}
"""xyxy in the image im0.jpg."""
YOLO = "0 0.25 0.2916666666666667 0.25 0.25\n1 0.6875 0.6666666666666666 0.25 0.3333333333333333\n"
"""The same in YOLO's shares."""


def write_files(root: Path, contents: Mapping[str, str | None]) -> None:
    """Write files by their names; None: an image, whose pixels the name decides."""
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_text(text)
        else:
            rng = np.random.default_rng([*name.encode()])
            Image.fromarray(rng.integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)).save(path)


def cvat_xml(images: str, *, labels: tuple[str, ...] = CLASSES, of: str = "task") -> str:
    """Return the XML of CVAT around elements of images."""
    declared = "".join(f"<label><name>{name}</name><type>any</type></label>" for name in labels)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta>'
        f"<{of}><id>1</id><labels>{declared}</labels></{of}></meta>{images}</annotations>"
    )


def cvat_image(name: str, shapes: str = "", *, more: str = "") -> str:
    """Return the element of an image."""
    return f'<image id="0" name="{name}" {more}width="{SIZE[0]}" height="{SIZE[1]}">{shapes}</image>'


def cvat_box(label: str, box: tuple[float, ...], *, more: str = "") -> str:
    """Return the element of a box."""
    sides = " ".join(
        f'{side}="{value}"' for side, value in zip(("xtl", "ytl", "xbr", "ybr"), box, strict=True)
    )
    return f'<box label="{label}" source="manual" occluded="0" {sides} z_order="0" {more}></box>'


_CVAT_BOXES = "".join(cvat_box(label, box) for label, box in BOXES.items())


def cvat_images(root: Path) -> None:
    xml = cvat_xml(cvat_image("im0.jpg", _CVAT_BOXES) + cvat_image("im1.jpg"))
    write_files(root, {"annotations.xml": xml, "images/im0.jpg": None, "images/im1.jpg": None})


def cvat_images_of_a_project(root: Path) -> None:
    train = cvat_image("im0.jpg", _CVAT_BOXES, more='subset="Train" task_id="1" ')
    train += cvat_image("sub/im1.jpg", more='subset="Train" task_id="1" ')
    other = cvat_image("im0.jpg", cvat_box("cat", (1, 2, 3, 4)), more='subset="Validation" task_id="2" ')
    names = ("Train/im0.jpg", "Train/sub/im1.jpg", "Validation/im0.jpg")
    write_files(root, {"annotations.xml": cvat_xml(train + other, of="project")})
    write_files(root, dict.fromkeys(f"images/{name}" for name in names))


def datumaro_document(annotations: list[dict[str, Any]], *, image: Mapping[str, Any] | None = None) -> str:
    """Return Datumaro's JSON with these annotations of im0."""
    labels = [{"name": name, "parent": "", "attributes": []} for name in CLASSES]
    size = [SIZE[1], SIZE[0]]
    items = [
        {
            "id": "im0",
            "annotations": annotations,
            "attr": {"frame": 0},
            "image": {"path": "im0.jpg", "size": size, **(image or {})},
            "media": {"path": ""},
        },
        {"id": "im1", "annotations": [], "image": {"path": "im1.jpg", "size": size}},
    ]
    return json.dumps(
        {"info": {}, "categories": {"label": {"labels": labels, "attributes": []}}, "items": items}
    )


def datumaro_box(label: str, box: tuple[float, ...], **more: Any) -> dict[str, Any]:
    """Return one annotation."""
    left, top, right, bottom = box
    sides = [left, top, right - left, bottom - top]
    entry = {"id": 0, "type": "bbox", "attributes": {}, "group": 0, "label_id": CLASSES.index(label)}
    return entry | {"z_order": 0, "bbox": sides} | more


def datumaro(root: Path) -> None:
    document = datumaro_document([datumaro_box(label, box) for label, box in BOXES.items()])
    names = dict.fromkeys(f"images/default/im{number}.jpg" for number in range(2))
    write_files(root, {"annotations/default.json": document} | names)


def labelme_document(image: str, shapes: list[dict[str, Any]], **more: Any) -> str:
    """Return a file of labelme."""
    head = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None}
    return json.dumps(head | {"imageHeight": SIZE[1], "imageWidth": SIZE[0]} | more)


def labelme_shape(label: str, points: Any, kind: str | None = "rectangle", **more: Any) -> dict[str, Any]:
    """Return one shape."""
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}} | more


def labelme(root: Path) -> None:
    shapes = [labelme_shape(label, [[x1, y1], [x2, y2]]) for label, (x1, y1, x2, y2) in BOXES.items()]
    write_files(
        root,
        {
            "im0.json": labelme_document("im0.jpg", shapes),
            "im1.json": labelme_document("im1.jpg", []),
            "im0.jpg": None,
            "im1.jpg": None,
        },
    )


def coco_document(
    names: tuple[str, ...], *, categories: tuple[tuple[int, str, str], ...] = ((1, "cat", ""), (2, "dog", ""))
) -> str:
    """Return a COCO file: the boxes in the first image."""
    images = [
        {"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
        for number, name in enumerate(names)
    ]
    ids = {name: number for number, name, _ in categories}
    annotations = [
        {
            "id": number,
            "image_id": 0,
            "category_id": ids[label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "iscrowd": 0,
        }
        for number, (label, (x1, y1, x2, y2)) in enumerate(BOXES.items())
    ]
    entries = [{"id": number, "name": name, "supercategory": above} for number, name, above in categories]
    return json.dumps({"info": {}, "images": images, "categories": entries, "annotations": annotations})


def cvat_coco(root: Path) -> None:
    document = coco_document(("im0.jpg", "im1.jpg"))
    names = dict.fromkeys(f"images/default/im{number}.jpg" for number in range(2))
    write_files(root, {"annotations/instances_default.json": document} | names)


def label_studio_coco(root: Path) -> None:
    names = ("images/1a2b3c4d-im0.jpg", "images/5e6f7a8b-im1.jpg")
    write_files(root, {"result.json": coco_document(names)} | dict.fromkeys(names))


def fiftyone_coco(root: Path) -> None:
    names = ("im0.jpg", "im1.jpg")
    write_files(root, {"labels.json": coco_document(names)} | dict.fromkeys(f"data/{name}" for name in names))


ROBOFLOW_CATEGORIES = ((0, "pets", "none"), (1, "cat", "pets"), (2, "dog", "pets"))


def roboflow_coco(root: Path) -> None:
    for part, names in (("train", ("im0_jpg.rf.a1.jpg", "im1_jpg.rf.b2.jpg")), ("valid", ("im2.jpg",))):
        document = coco_document(names, categories=ROBOFLOW_CATEGORIES)
        write_files(root / part, {"_annotations.coco.json": document} | dict.fromkeys(names))
    write_files(root, {"README.dataset.txt": "# pets > 2024\n", "README.roboflow.txt": "pets - v1\n"})


def cvat_yolo(root: Path) -> None:
    data = "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n"
    listed = "".join(f"data/obj_train_data/im{number}.jpg\n" for number in range(2))
    write_files(root, {"obj.data": data, "obj.names": "cat\ndog\n", "train.txt": listed})
    labels = {"im0.txt": YOLO, "im1.txt": ""}
    write_files(root / "obj_train_data", labels | dict.fromkeys(("im0.jpg", "im1.jpg")))


def cvat_ultralytics(root: Path) -> None:
    head = "path: .\nTrain: Train.txt\nnames:\n  0: cat\n  1: dog\n"
    listed = "".join(f"data/images/Train/im{number}.jpg\n" for number in range(2))
    write_files(root, {"data.yaml": head, "Train.txt": listed, "labels/Train/im0.txt": YOLO})
    write_files(root, dict.fromkeys(("images/Train/im0.jpg", "images/Train/im1.jpg")))


def label_studio_yolo(root: Path) -> None:
    notes = {"categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}], "info": {"year": 2024}}
    write_files(root, {"classes.txt": "cat\ndog\n", "notes.json": json.dumps(notes)})
    write_files(root, {"images/1a2b3c4d-im0.jpg": None, "images/5e6f7a8b-im1.jpg": None})
    write_files(root, {"labels/1a2b3c4d-im0.txt": YOLO, "labels/5e6f7a8b-im1.txt": ""})


def roboflow_yolo(root: Path) -> None:
    head = (
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['cat', 'dog']\n"
    )
    more = "\nroboflow:\n  workspace: a\n  project: pets\n  version: 1\n"
    write_files(root, {"data.yaml": head + more, "README.roboflow.txt": "pets - v1\n"})
    write_files(root, {"train/images/im0_jpg.rf.a1.jpg": None, "train/labels/im0_jpg.rf.a1.txt": YOLO})
    write_files(root, {"train/images/im1_jpg.rf.b2.jpg": None, "train/labels/im1_jpg.rf.b2.txt": ""})
    write_files(root, {"valid/images/im2.jpg": None, "valid/labels/im2.txt": YOLO})


def roboflow_darknet(root: Path) -> None:
    for part, names in (("train", ("im0", "im1")), ("valid", ("im2",))):
        labels = {f"{name}.txt": YOLO if name == "im0" else "" for name in names}
        write_files(root / part, {"_darknet.labels": "cat\ndog\n"} | labels)
        write_files(root / part, dict.fromkeys(f"{name}.jpg" for name in names))


def labelimg_yolo(root: Path) -> None:
    write_files(root, {"classes.txt": "cat\ndog\n", "im0.txt": YOLO, "im1.txt": ""})
    write_files(root, {"im0.jpg": None, "im1.jpg": None})


def voc_xml(name: str, boxes: Mapping[str, tuple[float, ...]], *, first: int = 1, owner: str = "") -> str:
    """Return an annotation file of VOC; `first` is added to near corners."""
    objects = "".join(
        f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x1 + first}</xmin>"
        f"<ymin>{y1 + first}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for label, (x1, y1, x2, y2) in boxes.items()
    )
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
    return f"<annotation><folder>a</folder><filename>{name}</filename>{owner}{size}{objects}</annotation>"


def cvat_voc(root: Path) -> None:
    boxes = {label: tuple(side + 0.25 for side in box) for label, box in BOXES.items()}
    write_files(root, {"Annotations/im0.xml": voc_xml("im0.jpg", boxes, first=0)})
    write_files(root, {"Annotations/im1.xml": voc_xml("im1.jpg", {})})
    write_files(
        root, {"ImageSets/Main/default.txt": "im0\nim1\n", "labelmap.txt": "# label\ncat:::\ndog:::\n"}
    )
    write_files(root, dict.fromkeys(("JPEGImages/im0.jpg", "JPEGImages/im1.jpg")))


def label_studio_voc(root: Path) -> None:
    owner = "<owner><flickrid>NULL</flickrid><name>Label Studio</name></owner>"
    write_files(root, {"Annotations/im0.xml": voc_xml("im0", BOXES, first=0, owner=owner)})
    write_files(root, {"Annotations/im1.xml": voc_xml("im1", {}, first=0, owner=owner)})
    write_files(root, dict.fromkeys(("images/im0.jpg", "images/im1.jpg")))


def roboflow_voc(root: Path) -> None:
    for part, boxes in (("train", BOXES), ("valid", {})):
        write_files(root / part, {"im0.xml": voc_xml("im0.jpg", boxes), "im1.xml": voc_xml("im1.jpg", {})})
        write_files(root / part, dict.fromkeys(("im0.jpg", "im1.jpg")))
    write_files(root, {"README.roboflow.txt": "pets - v1\n"})


def labelimg_voc(root: Path) -> None:
    write_files(root, {"im0.xml": voc_xml("im0.jpg", BOXES), "im1.xml": voc_xml("im1.jpg", {})})
    write_files(root, dict.fromkeys(("im0.jpg", "im1.jpg")))


LAYOUTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    function.__name__: (kind, function)
    for kind, functions in {
        "cvat": (cvat_images, cvat_images_of_a_project),
        "datumaro": (datumaro,),
        "labelme": (labelme,),
        "yolo": (
            cvat_yolo,
            cvat_ultralytics,
            label_studio_yolo,
            roboflow_yolo,
            roboflow_darknet,
            labelimg_yolo,
        ),
        "voc": (cvat_voc, label_studio_voc, roboflow_voc, labelimg_voc),
        "coco": (cvat_coco, label_studio_coco, roboflow_coco, fiftyone_coco),
    }.items()
    for function in functions
}
"""Every layout by its name: the format that it is of, and how it is written."""
