"""Partners' students on patients whom nobody trained on: what comes back is a signed report of noisy counts, and nothing else.

In the order of a submission::

    receiving    daemon    pieces of an ONNX file, bounded; then an examiner is asked: the daemon parses no model and reads no window
    examiner     examiner  one question, one answer; a process for each, or a worker apart from the daemon
    examining    examiner  the rules: check, spend, count, noise, sign, and in which order
    held_out     examiner  whose windows: the cohort's validation persons, or an evaluation cohort of its own
    policy       both      how many answers, how much noise, how many patients
    box          examiner  starts the sandbox, talks to it (`frames`), ends it in time
    sandbox      sandbox   a spawned process that reads its stdin, writes its stdout, and can do nothing else; it alone sees the model
    guard        sandbox   what it gives up before: memory, CPU, files, network, system calls
    checks       sandbox   what a model may consist of (`trees`: and that its trees end)
    running      sandbox   the model in onnxruntime
    asking       examiner  first about what is public, then about each patient apart, in a time of its own
    counting     examiner  each patient's vote -> `NoisyCounts`, the only thing of patients that reaches a report

What is promised, and what is not. The noise bounds what all answers to one partner tell of any one person, whatever the models are made to
ask and whatever the partner knows (`policy`). Partners who put their answers together add up; the cohort's limit in the budget ledger
bounds that. A model is refused by what is public (its bytes, its answers on noise and stimuli), and the time until an answer follows from
its pace on these, so neither a refusal nor a delay tells of a patient. An attacker who takes over onnxruntime finds a process without
network, files or other system calls, where the kernel allows to take them away; ``custodian evaluation show`` says what holds on a machine.
"""
