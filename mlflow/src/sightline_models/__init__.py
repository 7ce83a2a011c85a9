"""Models: the catalogue, fetching, conversion to ONNX."""
