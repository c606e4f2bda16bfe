"""Step 11: a verified release becomes students.

In the order of the data's way::

    sources     a release or student by name; the release is verified anew
    search      hyper-parameters, by optuna
    training    hold out, learn, turn into ONNX, prove parity
    adjusting   calibration, and another prevalence
    graphs      the ONNX graphs themselves
    student     what is kept: an ONNX file with its lineage; answers through onnxruntime
"""
