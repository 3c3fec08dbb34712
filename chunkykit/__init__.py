"""chunkykit: which post-training data taught the model that?

The modules are the method, in order:

mixture, describe, embed, build, index      read post-training rows, describe their sides, cluster the attributes, open the result
scan                                       what the data alone lets one expect
rubric -> write -> surf, cover             what counts as a failure; attributes to queries; the search, and our strategy for it
confirm, perturb                           measure the winners afresh, and in other words
cluster                                    failures that look alike
turf, evidence                             the data behind a failure: trigger, crux, chunks; rows for and against, words
ablate, mend, steer                        take the data away, balance it, or change the question, and measure again
figures, report, settings, run, cli        tables to pictures and a page of text, what a run can be told, the run folder, one command

demo is a mixture whose truth is known, organism and lora are models that learn it: in seconds, and in minutes. llm and wire talk to
real models, local serves them on this machine, ledger and prices keep count; output, errors and stats are small change. What is heavy is imported where it is used."""

__version__ = "0.1.0"
