"""livy-uploads: code in a session, and an upload; with a token, in a header of its own."""
from io import BytesIO

from livy_uploads.commands import LivyRunCode, LivyUploadBlob
from livy_uploads.endpoint import LivyEndpoint
from livy_uploads.retry_policy import TimeoutRetryPolicy
from livy_uploads.session import LivySession

from flow import TOKEN, URL, done

endpoint = LivyEndpoint(URL, default_headers={
    "content-type": "application/json", "authorization": f"Bearer {TOKEN}"})
session = LivySession.create(endpoint, name="uploads", kind="pyspark")
session.wait_ready(TimeoutRetryPolicy(60.0, 0.5))
lines, answer = session.apply(LivyRunCode("print('hello')\n_ = 6 * 7"))
session.apply(LivyUploadBlob(BytesIO(b"content"), "blob.bin"))
found = [other.session_name for other in LivySession.list(endpoint)]
session.delete()
session.wait_done(TimeoutRetryPolicy(60.0, 0.5))
done(answer=answer, printed=lines[0], listed=found)
