"""pylivy: a session and a batch, as its documentation shows them."""
import os

from livy import LivyBatch, LivySession, SessionKind

from flow import AUTH, URL, done

with LivySession.create(URL, auth=AUTH, kind=SessionKind.PYSPARK) as session:
    answer = session.run("print(6 * 7)")
batch = LivyBatch.create(URL, os.environ["BATCH_FILE"], auth=AUTH, args=["7"])
batch.wait()
log = batch.log()
state = batch.state.value
batch.kill()
done(answer=answer.text.strip(), batch=state, counted="counted 7 in plain Python" in log)
