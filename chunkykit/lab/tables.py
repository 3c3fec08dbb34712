"""Every table of a run folder: its columns, their kinds and what they mean.

Tables are Parquet files in `tables/`. `table_checks` holds them against this module when they are
written and when they are read, and the documentation lists them from here. A table with a part,
such as `probes-rebut`, is one table per rubric.
"""

from dataclasses import dataclass

from chunkykit.errors import UserError

# What a kind holds, and how it is said in a message. "text", "number" and the lists may be missing.
KINDS = {
    "text": "texts",
    "count": "whole numbers",
    "number": "numbers",
    "flag": "True or False",
    "texts": "lists of texts",
    "numbers": "lists of whole numbers",
}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its name.
        kind: one of KINDS.
        meaning: what a value says.
        optional: whether a table may lack the column.
    """

    name: str
    kind: str
    meaning: str
    optional: bool = False


@dataclass(frozen=True)
class Table:
    """A table of a run folder.

    Attributes:
        name: its name; a file has `-RUBRIC` behind it where the table is one per rubric.
        stage: the stage that writes it.
        meaning: what a row is.
        columns: its columns, in order.
        per_rubric: whether there is one per rubric.
    """

    name: str
    stage: str
    meaning: str
    columns: tuple[Column, ...]
    per_rubric: bool = False


def _columns(text: str) -> tuple[Column, ...]:
    """Columns from lines `name kind meaning`; a `?` behind the name makes a column optional."""
    columns = []
    for line in text.strip().splitlines():
        name, kind, meaning = line.split(maxsplit=2)
        columns.append(Column(name.removesuffix("?"), kind, meaning, name.endswith("?")))
    return tuple(columns)


_PROBE = """
query     text    what the user asked
system?   text    the system prompt that it stood under; empty for none
response  text    what the target answered; empty where it failed
thinking? text    what the target wrote for itself before; empty where it is not known
outcome?  text    "answered", "declined", "cut off", "failed", or "filtered" by a gate
pair_query?    text  the query in the rubric's other framing; empty where it is not about pairs
pair_response? text  what the target answered to that
score     number  the judgement, 0 to 100; missing where the exchange was not judged
reason    text    the judge's reason
error     text    why the exchange has no score; missing where it has one
votes?    text    JSON of each judge's score, reason and error, where a panel judged
"""
_INTERVAL = """
low       number  lower end of its 95 % Wilson interval
high      number  upper end
n         count   judged answers behind it
"""
_BEFORE_AFTER = f"""
rate_before  number  failure rate of the model trained on the whole mixture
before_low   number  lower end of its 95 % Wilson interval
before_high  number  upper end
rate_after   number  failure rate of the retrained model, on the same queries
{_INTERVAL.strip()}
dropped      count   training rows left out
"""

TABLES = {
    table.name: table
    for table in (
        Table(
            "rows",
            "index",
            "an exchange of the training data that can be used",
            _columns("""
row         count   number of the row in its source, from 1 (JSONL: the line; CSV: after the header)
chunk       text    the source data set that it belongs to
prompt      text    the user's turn
response    text    the assistant's turn
reasoning?  text    the assistant's reasoning, where the row has one
rejected?   text    the rejected response of a preference pair
turn?       count   number of the answer in its row, from 1
system?     text    the system prompt that it stands under
tools?      text    names of the tools that the assistant could call
from_tool?  flag    whether a tool wrote the prompt
is_call?    flag    whether the response calls a tool
"""),
        ),
        Table(
            "skipped",
            "index",
            "a training row that cannot be used",
            _columns("""
row     count  number of the row in its source
reason  text   why it is skipped
"""),
        ),
        Table(
            "probes",
            "search",
            "a candidate of the search or of its control arm",
            _columns(f"""
rubric      text     the rubric that was searched for
arm         text     "search", "control", or "probe" for one of the explorer
run         count    number of the search run
iteration   count    iteration within the run
candidate   count    number of the candidate within the iteration
attributes  numbers  numbers of the attributes in the pool that the query was written from
{_PROBE.strip()}
"""),
            per_rubric=True,
        ),
        Table(
            "modes",
            "search",
            "a failure mode: attributes that together make the target fail",
            _columns("""
rubric      text   the rubric
attributes  texts  the attribute sentences
tried       count  candidates with them in other surroundings, the discovery not counted
failed      count  of those, the failures
"""),
            per_rubric=True,
        ),
        Table(
            "answers",
            "confirm",
            "a fresh answer to a winner of the search",
            _columns(f"{_PROBE.strip()}\nrubric?  text  the rubric"),
        ),
        Table(
            "confirmed",
            "confirm",
            "the confirmed failure rate of a rubric, with the yields of both arms of the search",
            _columns(f"""
rubric        text    the rubric
rate          number  failure rate of the winners, answered afresh
{_INTERVAL.strip()}
errors        count   fresh answers that could not be judged
search_rate   number  failures per judged candidate of the search
search_low    number  lower end of its 95 % Wilson interval
search_high   number  upper end
search_n      count   judged candidates of the search
control_rate  number  failures per judged candidate of the control arm
control_low   number  lower end of its 95 % Wilson interval
control_high  number  upper end
control_n     count   judged candidates of the control arm
"""),
        ),
        Table(
            "rewrites",
            "confirm",
            "an answer to a rewrite of a winner",
            _columns(f"""
rubric    text  the rubric
original  text  the query before it was rewritten
{_PROBE.strip()}
"""),
        ),
        Table(
            "robustness",
            "confirm",
            "a winner and its rewrites",
            _columns(f"""
rubric          text    the rubric
query           text    the winner
rate            number  failure rate of the winner itself, answered afresh
original_n      count   judged answers behind that
perturbed_rate  number  failure rate over all its rewrites
{_INTERVAL.strip()}
errors          count   answers to rewrites that could not be judged
"""),
        ),
        Table(
            "points",
            "cluster",
            "a distinct failing exchange",
            _columns("""
rubric               text    the rubric
query                text    what the user asked
system?              text    the system prompt that it stood under; empty for none
response             text    what the target answered
thinking?            text    what the target wrote for itself before
pair_query?          text    the other query of a pair; `query` is the one whose answer is traced
pair_response?       text    what the target answered to that
score                number  the judgement, 0 to 100
reason               text    the judge's reason
votes?               text    JSON of each judge's score, reason and error, where a panel judged
query_attributes     texts   attribute sentences of the query
response_attributes  texts   attribute sentences of the response
cluster              count   its cluster, -1 for noise
x                    number  its place on the map
y                    number  its place on the map
"""),
        ),
        Table(
            "clusters",
            "cluster",
            "a cluster of failing exchanges",
            _columns("""
id      count   number of the cluster
size    count   its exchanges
rubric  text    the rubric that they violate; of several "mixed: rebut 20, refusal 14"
label   text    what sets it apart
share?  number  of its exchanges, the share of which the label is true; missing without a label
"""),
        ),
        Table(
            "traces",
            "trace",
            "a trace: the exchanges of a cluster that share a trigger",
            _columns("""
cluster               count   the cluster
rubric                text    the rubric
trigger               text    what the queries are like; missing where nothing stands out
trigger_cluster       number  its query cluster in the index; missing where there is none
trigger_from?         text    who wrote it: "query", "row" of the training data, or a model's name
trigger_by_hits       text    the paper's choice of trigger, by raw hits
crux                  text    response attribute that makes the violation
hits                  number  expected rows with the crux, of those that likely have the trigger
k                     number  expected rows with the crux
lift                  number  P(crux) with the trigger over P(crux)
p_value               number  of the attribute among shuffled rows, adjusted over the query's
separation            number  AUC of the rows with the crux by the trigger, cross-validated
separation_low        number  lower end of its 95 % interval
separation_high       number  upper end of it
p_crux_given_trigger  number  P(crux) over training rows that likely carry the trigger
p_crux_without        number  P(crux) over the others
p_crux                number  P(crux) over all training rows
pairs                 count   exchanges that the trace speaks for
explanation           text    the trace as a sentence
"""),
        ),
        Table(
            "trace_chunks",
            "trace",
            "a chunk behind a trace",
            _columns("""
chunk       text    the chunk
share       number  its share of the evidence
base_share  number  its share of the mixture
lift        number  share over base_share
lift_low    number  lift at the lower end of the share's 95 % Wilson interval
rows        count   rows behind the trace in it
trace       count   position of the trace in `traces`
"""),
        ),
        Table(
            "trace_rows",
            "trace",
            "a hit row of a trace, the most telling first",
            _columns("""
trace  count  position of the trace in `traces`
row    count  position of the training row in the index
"""),
        ),
        Table(
            "trace_examples",
            "trace",
            "a training row for or against a trace",
            _columns("""
kind                text   "evidence" or "counter-example"
row                 count  number of the row in its source
chunk               text   its chunk
prompt              text   its prompt
response            text   its response
reasoning?          text   its reasoning
rejected?           text   its rejected response
turn?               count  number of the answer in its row, from 1
system?             text   its system prompt
tools?              text   names of the tools that the assistant could call
from_tool?          flag   whether a tool wrote the prompt
is_call?            flag   whether the response calls a tool
query_attribute     text   its attribute that matches the trigger; missing where none does
response_attribute  text   its attribute that matches the crux; missing where none does
trace               count  position of the trace in `traces`
"""),
        ),
        Table(
            "trace_pairs",
            "trace",
            "a failing exchange that a trace speaks for",
            _columns("""
trace           count    position of the trace in `traces`
query           text     what the user asked
system?         text     the system prompt that it stood under; empty for none
response        text     what the target answered
query_clusters  numbers  query clusters of its attributes, -1 for one that no row has
"""),
        ),
        Table(
            "features",
            "trace",
            "a chunk's share of rows with the trigger and with the crux of a trace",
            _columns("""
trace          count   position of the trace in `traces`
rubric         text    the rubric
trigger        text    the trigger
chunk          text    the chunk
rows           count   rows of the chunk
trigger_share  number  of them, the share that carries the trigger
crux_share     number  of them, the share whose response shows the crux
"""),
        ),
        Table(
            "ablations",
            "ablate",
            "a retraining without the chunks that a trace names",
            _columns(f"""
rubric       text    the rubric
chunk        text    the chunk that is left out; several have a plus between them
{_BEFORE_AFTER.strip()}
"""),
        ),
        Table(
            "repairs",
            "ablate",
            "a retraining on a repaired mixture",
            _columns(f"""
rubric                       text    the rubric
how                          text    "drop" or "balance"
chunk                        text    the chunk that a trace names first
repeated                     count   rows that speak against the trigger, repeated
still_wanting                count   rows against the trigger that would have to be written
p_crux_given_trigger_before  number  P(crux | trigger) in the mixture
p_crux_given_trigger_after   number  P(crux | trigger) in the repaired mixture
{_BEFORE_AFTER.strip()}
"""),
        ),
    )
}


def table_of(name: str) -> Table:
    """Find the table that a file name stands for.

    Args:
        name: such as "traces" or "probes-rebut".

    Returns:
        The table.

    Raises:
        UserError: where a run folder has no such table.
    """
    first, _, part = name.partition("-")
    table = TABLES.get(first)
    if table is None or table.per_rubric != bool(part):
        raise UserError(f"table '{name}' is not known. Tables: {', '.join(TABLES)}.")
    return table
