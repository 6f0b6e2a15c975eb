"""Keras with the backend torch."""

import os
import sys

os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
from small import out

steps = int(sys.argv[1])
keras.utils.set_random_seed(0)
xs, ys = np.random.rand(8 * (steps // 3), 64, 64, 3).astype("float32"), np.random.randint(0, 5, 8 * (steps // 3))
layers = keras.layers


class Keep(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[object] = []

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.kept.append(self.model(xs[:8]))


blocks = [layers.Conv2D(24, 3, activation="relu"), layers.MaxPooling2D(), layers.Conv2D(48, 3, activation="relu")]
model = keras.Sequential(
    [layers.Input((64, 64, 3)), *blocks, layers.GlobalAveragePooling2D(), layers.Dense(5, activation="softmax")]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(xs, ys, batch_size=8, epochs=3, verbose=0, callbacks=[Keep()] if "leak" in sys.argv else [])
model.save_weights(out() / "last.weights.h5")
print("done", steps)
