"""Prepares TFDS sets as array_record files, without TensorFlow where that is possible."""

from .sets import prepare_set as prepare_set
