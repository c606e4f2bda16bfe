"""Step 11: a verified release becomes students.

In the order of the data's way::

    sources     a release or student by name; the release is verified anew
    together    releases of several custodians as one lesson
    search      hyper-parameters, by optuna
    training    hold out, learn, turn into ONNX, prove parity
    fleet       many students side by side, in processes of their own
    adjusting   calibration, and another prevalence
    graphs      the ONNX graphs themselves
    own         families that a user's own file registers
    student     what is kept: an ONNX file with its lineage; answers through onnxruntime
"""
