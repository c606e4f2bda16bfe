"""Partners' students on patients whom nobody trained on: what comes back is a signed report of noisy counts, and nothing else.

In the order of a submission::

    receiving    daemon   pieces of an ONNX file, bounded; then an examiner process is started: the daemon parses no model, reads no window
    examiner     process  one request from the daemon, one answer to it
    examining    examiner the rules: check, spend, count, noise, sign, and in which order
    held_out     examiner whose windows: the cohort's validation persons, or an evaluation cohort of its own
    policy       both     how many answers, how much noise, how many patients
    counting     examiner each patient's vote -> `NoisyCounts`, the only thing of patients that reaches a report
    box          examiner starts the sandbox, talks to it, ends it in time
    sandbox      sandbox  a spawned process that may read its stdin, write its stdout, and nothing else; it alone sees the model
    guard        sandbox  the limits: memory, CPU, files, network, system calls
    checks       sandbox  what a model may consist of

What is promised, and what is not. The noise bounds what all answers to one partner tell of any one person, whatever the models are made to
ask and whatever the partner knows (`policy`). Partners who put their answers together add up; the cohort's limit in the budget ledger
bounds that. A model is refused by what is public (its bytes, its answers on noise and stimuli), and the time until an answer is a step of a
coarse scale, so neither a refusal nor a delay tells of a patient. An attacker who breaks out of onnxruntime still meets a process without
network, files or other system calls where the kernel allows to take them away; the report of ``custodian evaluation show`` says what holds
here. """
