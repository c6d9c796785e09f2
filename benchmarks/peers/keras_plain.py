"""The published network in Keras 3 on TensorFlow, as a script of one's own would have it; prints seconds and last loss.

Usage: keras_plain.py FOLDER EPOCHS, where FOLDER has images.npy (uint8, NHWC) and labels.npy; one more comes first.
"""

import json
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from keras import layers

tf.config.experimental.enable_tensor_float_32_execution(False)
keras.utils.set_random_seed(2021)
folder, epochs = sys.argv[1], int(sys.argv[2])
images, labels = np.load(f"{folder}/images.npy"), tf.constant(np.load(f"{folder}/labels.npy"), tf.int32)
starts = range(0, len(images), 1000)
batches = [(tf.cast(images[at : at + 1000], tf.float32) / 255, labels[at : at + 1000]) for at in starts]
stages = [layers.Conv2D(16, 5, activation="relu"), layers.MaxPooling2D(2)]
stages += [layers.Conv2D(8, 5, activation="relu"), layers.MaxPooling2D(2)]
dense = [layers.Flatten(), layers.Dense(120), layers.Dense(84), layers.Dense(10)]
model = keras.Sequential([keras.Input((32, 32, 3)), *stages, *dense])
loss, optimizer = keras.losses.SparseCategoricalCrossentropy(from_logits=True), keras.optimizers.SGD(0.01, 0.9)
optimizer.build(model.trainable_variables)


@tf.function
def step(values, labels):
    with tf.GradientTape() as tape:
        value = loss(labels, model(values, training=True))
    optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
    return value


seconds = []
for _ in range(1 + epochs):
    started = time.perf_counter()
    for batch in batches:
        value = step(*batch)
    last = float(value)
    seconds.append(time.perf_counter() - started)
print(json.dumps({"seconds": seconds[1:], "loss": last}))
