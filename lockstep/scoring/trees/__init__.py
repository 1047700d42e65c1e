"""Tree ensembles, evaluated in every bit as ONNX Runtime does. See docs/tree-kernels.md."""
