"""chunkykit: which post-training data taught the model that?

The modules are the method, in order:

mixture -> describe -> embed -> index      read post-training rows, describe both sides, cluster the query attributes
rubric -> surf -> confirm                  search a chat model for failures, then measure them afresh
cluster                                    failures that look alike
turf                                       the data behind a failure: trigger, crux, chunks
ablate                                     take the data away and measure again
figures, report, run, cli                  tables to pictures and a page of text, the run folder, one command

demo and organism are a mixture and a model whose truth is known; llm and ledger talk to real models and keep
count; output and stats are small change. Nothing heavy is imported here: every module imports what it needs where it is used.
"""

__version__ = "0.1.0"
