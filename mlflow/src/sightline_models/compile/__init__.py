"""Compiling: an engine per target out of one ONNX file, and the gates that it must pass.

``dynamic_batch`` frees a model's batch size, ``calibration`` writes 8-bit models, ``golden`` what the model says at full
precision; ``tensorrt_engine`` builds for GPUs; ``compile`` puts them in order and refuses what fails a gate.
"""
