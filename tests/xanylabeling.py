"""X-AnyLabeling's own window against a running ``segkit serve``: started by ``xanylabeling.sh``, in its environment.

    python xanylabeling.py URL PICTURE SCREENSHOT [TOKEN]

Opens the picture in the window (without a screen), chooses the remote server, presses Run, waits for shapes, saves them
beside the picture and takes a screenshot. Prints the models that were offered and the shapes as a line of JSON; ends
with 1 where none have come after a minute.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from anylabeling import app
from anylabeling.views import mainwindow
from PyQt6.QtCore import QTimer

URL, PICTURE, SCREENSHOT = sys.argv[1:4]
TOKEN = sys.argv[4] if len(sys.argv) > 4 else ""


def after(condition: Callable[[], bool], then: Callable[[], None], tries: int = 240) -> None:
    """Go on when the condition holds, which is looked at four times a second."""
    if condition():
        then()
    elif tries:
        QTimer.singleShot(250, lambda: after(condition, then, tries - 1))
    else:
        sys.stderr.write(f"nothing came before: {then.__name__}\n")
        os._exit(1)


class Window(mainwindow.MainWindow):
    """The main window, which does what a person would do."""

    def __init__(self, *arguments: object, **more: object) -> None:
        super().__init__(*arguments, **more)
        QTimer.singleShot(1000, self.open_model)

    def open_model(self) -> None:
        view = self.labeling_widget.view
        view.load_file(PICTURE)
        self.panel = view.auto_labeling_widget
        self.panel.show()
        files = [each["config_file"] for each in self.panel.model_manager.get_model_configs()]
        self.panel.model_manager.load_model(next(file for file in files if "remote_server" in str(file)))
        after(lambda: self.panel.remote_server_select_combobox.count() > 0, self.run)

    def run(self) -> None:
        self.panel.button_run.click()
        after(lambda: bool(self.labeling_widget.view.canvas.shapes), self.finish)

    def finish(self) -> None:
        view, box = self.labeling_widget.view, self.panel.remote_server_select_combobox
        found = [[each.label, each.shape_type, each.score, len(each.points)] for each in view.canvas.shapes]
        view.save_labels(str(Path(PICTURE).with_suffix(".json")))
        self.grab().save(SCREENSHOT)
        models = [box.itemText(n) for n in range(box.count())]
        sys.stdout.write(json.dumps({"models": models, "shapes": found}) + "\n")
        sys.stdout.flush()
        os._exit(0)  # its threads would be waited for


os.environ["QT_QPA_PLATFORM"] = "offscreen"
mainwindow.MainWindow = Window
settings = json.dumps({"remote_server_settings": {"server_url": URL, "api_key": TOKEN}})
sys.argv = ["xanylabeling", "--filename", PICTURE, "--no-auto-update-check", "--qt-platform", "offscreen",
            "--work-dir", str(Path(PICTURE).parent), "--config", settings]  # fmt: skip
app.main()
