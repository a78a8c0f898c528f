import java.io.File;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.livy.Job;
import org.apache.livy.JobContext;
import org.apache.livy.JobHandle;
import org.apache.livy.LivyClient;
import org.apache.livy.LivyClientBuilder;

/** Livy's own Java client: a session, an upload, a file of Livy's, a job; the login is in the URL. */
public class JavaClientFlow {
  static class Answer implements Job<Integer> {
    @Override
    public Integer call(JobContext context) {
      return 6 * 7;
    }
  }

  public static void main(String[] arguments) throws Exception {
    String login = System.getenv("LIVY_USER") + ":" + System.getenv("LIVY_PASSWORD") + "@";
    URI gateway = new URI(System.getenv("GATEWAY").replace("://", "://" + login));
    LivyClient client = new LivyClientBuilder(false).setURI(gateway).build();
    Path upload = Files.createTempFile("upload", ".bin");
    boolean ran;
    try {
      Files.writeString(upload, "content");
      client.uploadFile(new File(upload.toString())).get(60, TimeUnit.SECONDS);
      client.addFile(new URI("file://" + System.getenv("BATCH_FILE"))).get(60, TimeUnit.SECONDS);
      ran = reachesTheDriver(client.submit(new Answer()));
    } finally {
      Files.delete(upload);
      client.stop(true);
    }
    System.out.println("{\"job_reached_driver\":" + ran + "}");
    System.exit(0); // its threads would live on
  }

  /** The driver of the tests has no Spark for Java: the job ends there, and the client hears how. */
  private static boolean reachesTheDriver(JobHandle<Integer> job) throws Exception {
    try {
      return job.get(60, TimeUnit.SECONDS) == 42;
    } catch (ExecutionException failure) {
      String words = failure.getMessage();
      System.out.println(words);
      return job.getState() == JobHandle.State.FAILED && words.contains("org.apache.livy.rsc.driver");
    }
  }
}
