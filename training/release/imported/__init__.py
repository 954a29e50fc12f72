"""Networks that others trained and published, written as sedkit models: ``sedkit-train import``.

==================  ===========================================================================
``classes``         AudioSet's 527 classes in their order
``checkpoint``      published torch checkpoints: reading them without running code from them
``segmenting``      waveform → segments, each from a window of its own
``yamnet``          YAMNet's TFLite file
``panns``           PANNs' Cnn14 and Cnn14_DecisionLevelMax
``efficientat``     EfficientAT's MobileNets
``writing``         network → ONNX file, checked against torch
``command``         the command
==================  ===========================================================================

Only facts about the networks are ours to use: names and shapes of their weights, and their arithmetic. The weights come
from the file that the user gives.
"""
