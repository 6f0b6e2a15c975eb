"""What an extra installs is asked for by name where it is missing, before anything is written."""

import sys

import pytest
from random_models import card_of, checkpoint

from segkit.errors import InputError
from segkit.extras import extra_package


def test_an_installed_package_is_loaded_and_a_missing_one_is_refused_with_its_extra():
    assert extra_package("json.decoder", "--x", "x").JSONDecoder
    with pytest.raises(InputError) as caught:
        extra_package("no_such_package.part", "--format x", "some")
    assert str(caught.value) == "--format x: the package no-such-package is not installed"
    assert caught.value.hint == 'pip install "segkit[some]"'


@pytest.mark.parametrize(
    ("module", "options", "extra"),
    [
        ("openvino", ["--format", "openvino"], "openvino"),
        ("ai_edge_litert.interpreter", ["--format", "litert"], "litert"),
        ("onnxslim", ["--simplify"], "simplify"),
        ("onnxscript", ["--exporter", "dynamo"], "dynamo"),
    ],
)
def test_an_export_without_its_package_writes_nothing(segkit, here, monkeypatch, module, options, extra):
    monkeypatch.setitem(sys.modules, module, None)
    outcome = segkit("export", checkpoint(here / "m.pt", card_of("unet")), *options)
    assert outcome.code == 1
    name = module.partition(".")[0].replace("_", "-")
    assert f"{' '.join(options)}: the package {name} is not installed\n" in outcome.err
    assert f'hint: pip install "segkit[{extra}]"' in outcome.err
    assert [each.name for each in here.iterdir()] == ["m.pt"]
