"""Runs the statements of one session: a line `ID KIND BASE64` in, a line of JSON out.

With STANDIN_REAL_SPARK `spark` and `sc` are the real ones of the installed pyspark; else
SQL is SQLite's, and `spark` is only a name.
"""
import ast
import base64
import contextlib
import io
import json
import os
import sys
import traceback

out = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)  # what native code and child processes print belongs in the session's log
real = bool(os.environ.get("STANDIN_REAL_SPARK"))
names = {"__name__": "__main__"}
if real:
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.getOrCreate()  # its conf comes in PYSPARK_SUBMIT_ARGS
    names.update(spark=spark, sc=spark.sparkContext, sqlContext=spark)
else:
    import sqlite3
    spark = sqlite3.connect(":memory:")
    names.update(spark="<no Spark here>")


def python(code):
    tree = ast.parse(code, "<stdin>")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        for node in tree.body:
            if node is tree.body[-1]:
                part, how = ast.Interactive([node]), "single"  # shows an expression's value
            else:
                part, how = ast.Module([node], []), "exec"
            exec(compile(part, "<stdin>", how), names)
    return {"text/plain": printed.getvalue().rstrip()}


def sql(code):
    if real:
        frame = spark.sql(code)
        schema = json.loads(frame.schema.json())
        rows = [list(row) for row in frame.take(1000)]
    else:
        cursor = spark.execute(code)
        rows = [list(row) for row in cursor.fetchmany(1000)]
        types = {int: "integer", float: "double"}
        schema = {"type": "struct", "fields": [
            {"name": column[0], "type": types.get(type(rows[0][i]) if rows else str, "string"),
             "nullable": True, "metadata": {}}
            for i, column in enumerate(cursor.description or ())]}
    return {"application/json": {"schema": schema, "data": rows}}


def answer(number, kind, code):
    try:
        if kind in ("pyspark", "python"):
            data = python(code)
        elif kind == "sql":
            data = sql(code)
        else:
            raise NotImplementedError("the stand-in driver runs pyspark and sql, not " + kind)
        return {"status": "ok", "execution_count": number, "data": data}
    except BaseException as e:  # KeyboardInterrupt: canceled; SystemExit: the user's exit()
        lines = traceback.format_exception(type(e), e, e.__traceback__)
        return {"status": "error", "execution_count": number, "ename": type(e).__name__,
                "evalue": str(e), "traceback": [line + "\n" for line in "".join(lines).splitlines()]}


def say(reply):
    out.write(json.dumps(reply, default=str) + "\n")
    out.flush()


say("ready")
while True:
    try:
        line = sys.stdin.readline()
    except KeyboardInterrupt:  # a cancel that came too late
        continue
    if not line:
        break
    number, kind, code = line.split(" ")
    say(answer(int(number), kind, base64.b64decode(code).decode()))
