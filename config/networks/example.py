"""A network of your own: copy this file, change it, and type `make try MODEL=mine.py:network`."""

from torch import nn


def network(classes, shape):
    """Return the network: images float32 [n, channels, height, width] in, logits [n, classes] out.

    Its weights come from torch's generator, which is seeded before each call. Dropout, batch normalisation and the like
    may be used. No softmax at the end: the loss, the cross-entropy, includes it.
    """
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(32 * (height // 2) * (width // 2), classes),
    )


# To train on another loss, return it too: each image's loss, [n], of logits and labels.
#
#     return made, nn.CrossEntropyLoss(label_smoothing=0.1, reduction="none")
#
# To read something else than images, return a third thing: a function from images, float32 [n, *shape] from 0 to 1, to
# what the network reads, a row an image. It is called once, before the clock. The loss may be None.
#
#     return made, None, lambda images: (images.flatten(1) * 255).long()
