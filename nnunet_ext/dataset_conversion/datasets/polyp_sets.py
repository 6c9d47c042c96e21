"""CVC-ColonDB, ETIS-LaribPolypDB and CVC-300: small sets of colonoscopy frames that polyp papers test on."""

from __future__ import annotations

from functools import partial

from nnunet_ext.dataset_conversion.datasets.layout import DatasetLayout
from nnunet_ext.dataset_conversion.datasets.parts import Part, always, find_parts

COLON_FLAT = Part("*", r"(\d+)\.(?:bmp|tiff?)", "p*", r"p(\d+)\.(?:bmp|tiff?)")
ETIS = Part(
    "ETIS-LaribPolypDB/*",
    r"ETIS-LaribPolypDB/(\d+)\.(?:tiff?|png)",
    "Ground Truth/*",
    r"Ground Truth/p(\d+)\.(?:tiff?|png)",
)
COPY = Part("images/*.png", r"images/(\d+)\.png", "masks/*.png", r"masks/(\d+)\.png")
COPY_TREE = "images/1.png\nmasks/1.png"
NO_SEQUENCES = "frames of one video sequence are not kept together in folds: which belong together is not published"


def _layout(
    name: str, title: str, part: Part, n: int, tree: str, *, reference: str, url: str, version: str, confirmed: str
) -> DatasetLayout:
    return DatasetLayout(
        name=name,
        title=title,
        papers=("m2snet",),
        reference=reference,
        url=url,
        licence=f"not stated, {url}",
        tree=tree,
        version=version,
        confirmed=confirmed,
        cases=partial(find_parts, parts=(part,), describe=always(structure="Polyp", modality="Colonoscopy")),
        counts={"train": n},
        threshold=127,
        notes=(NO_SEQUENCES,),
    )


BERNAL = "Bernal et al., Towards automatic polyp detection with a polyp appearance model, Pattern Recognition 45, 2012"
SILVA = "Silva et al., Toward embedded detection of polyps in WCE images ..., IJCARS 9, 2014"
VAZQUEZ = "Vázquez et al., A benchmark for endoluminal scene segmentation of colonoscopy images, J. Healthc. Eng. 2017"
CVC = "http://mv.cvc.uab.es/projects/colon-qa/cvccolondb"

LAYOUTS = (
    _layout(
        "cvc_colondb",
        "CVC-ColonDB (300 frames)",
        COLON_FLAT,
        300,
        "1.tiff (or .bmp)\np1.tiff (polyp)\ns1.tiff, c1.tiff, cp1.tiff (no information, contours; left out)",
        reference=BERNAL,
        url=CVC,
        version="CVC-ColonDB of the Computer Vision Center, all files in one folder",
        confirmed=f"public documentation: {CVC} (p, s and c, .bmp); .tiff from public loaders",
    ),
    _layout(
        "cvc_colondb380",
        "CVC-ColonDB (380 frames, PNG copy)",
        COPY,
        380,
        COPY_TREE,
        reference=BERNAL,
        url="https://www.kaggle.com/datasets/longvil/cvc-colondb",
        version="the copy with 380 frames that PraNet and later papers test on",
        confirmed="public loader: constantinpape/torch-em torch_em/data/datasets/medical/cvc_colondb.py",
    ),
    _layout(
        "etis_larib",
        "ETIS-LaribPolypDB",
        ETIS,
        196,
        "ETIS-LaribPolypDB/1.tif\nGround Truth/p1.tif",
        reference=SILVA,
        url="https://polyp.grand-challenge.org/ETISLarib/",
        version="ETIS-LaribPolypDB.rar",
        confirmed="public loaders of several repositories; count: AlbertoUAH/polyps-image-segmentation",
    ),
    _layout(
        "etis_larib_png",
        "ETIS-LaribPolypDB (PNG copy)",
        COPY,
        196,
        COPY_TREE,
        reference=SILVA,
        url="https://polyp.grand-challenge.org/ETISLarib/",
        version="the PNG copy that PraNet and later papers test on",
        confirmed="public loaders of several repositories with these folders",
    ),
    _layout(
        "cvc_300",
        "CVC-300, also CVC-T (test part of EndoScene)",
        COPY,
        60,
        COPY_TREE,
        reference=VAZQUEZ,
        url="https://pages.cvc.uab.es/CVC-Colon/index.php/databases/cvc-endoscenestill/",
        version="the PNG copy with 60 frames that PraNet and later papers test on",
        confirmed="public loader: constantinpape/torch-em torch_em/data/datasets/medical/cvc_endoscenestill.py",
    ),
)
