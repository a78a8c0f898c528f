import static java.nio.charset.StandardCharsets.UTF_8;

import io.netty.channel.ChannelHandlerContext;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.Collection;
import java.util.HashSet;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.apache.livy.rsc.RSCConf;
import org.apache.livy.rsc.ReplJobResults;
import org.apache.livy.rsc.driver.RSCDriver;
import org.apache.livy.rsc.driver.RSCDriverBootstrapper;
import org.apache.livy.rsc.driver.SparkEntries;
import org.apache.livy.rsc.driver.Statement;
import org.apache.livy.rsc.driver.StatementState;
import org.apache.livy.rsc.rpc.Rpc;
import org.apache.spark.SparkConf;

/**
 * The driver of an interactive session, in the place of Livy's own REPL (which must match Spark's
 * Scala version and is not published for every Livy). It connects back to the Livy server by
 * Livy's own protocol and hands each statement to one Python process, repl.py.
 */
public class StandInDriver extends RSCDriver {
  private static final String LIVY_PREFIX = "spark.__livy__.";
  private static final Properties settings = new Properties(); // as Livy wrote them for spark-submit

  private final String sessionKind;
  private final int retained;
  private final ExecutorService interpreter = Executors.newSingleThreadExecutor();
  private final ExecutorService answers = Executors.newSingleThreadExecutor();
  private final CountDownLatch ready = new CountDownLatch(1);
  private final TreeMap<Integer, Statement> statements = new TreeMap<>();
  private final Set<Rpc> authenticated = new HashSet<>();
  private int nextId = 0;
  private String state = "starting";
  private Process python;
  private OutputStream requests;
  private BufferedReader replies;

  /** StandInDriver PROPERTIES-FILE, as spark-submit gets it from Livy. */
  public static void main(String[] args) throws Exception {
    try (var in = Files.newBufferedReader(Path.of(args[0]))) {
      settings.load(in);
    }
    settings.setProperty(LIVY_PREFIX + "livy.rsc.driver-class", StandInDriver.class.getName());
    // Holds the session's secret; the bootstrapper insists on the name.
    Path own = Files.createTempFile("livyConf", ".properties");
    own.toFile().deleteOnExit();
    try (var out = Files.newBufferedWriter(own)) {
      settings.store(out, null);
    }
    int code = 0;
    try {
      RSCDriverBootstrapper.main(new String[] {own.toString()});
    } catch (Throwable e) {
      e.printStackTrace();
      code = 1;
    }
    System.exit(code); // deletes the file, and ends what threads the driver leaves behind
  }

  public StandInDriver(SparkConf spark, RSCConf livy) throws Exception {
    super(spark, livy);
    sessionKind = livy.get(RSCConf.Entry.SESSION_KIND);
    retained = livy.getInt(RSCConf.Entry.RETAINED_STATEMENTS);
  }

  @Override
  protected SparkEntries initializeSparkEntries() throws Exception {
    ProcessBuilder interpreter =
        new ProcessBuilder(System.getenv("PYSPARK_PYTHON"), System.getenv("STANDIN_REPL"))
            .redirectError(ProcessBuilder.Redirect.INHERIT);
    interpreter.environment().put("PYSPARK_SUBMIT_ARGS", sparkArguments());
    python = interpreter.start();
    requests = python.getOutputStream();
    replies = new BufferedReader(new InputStreamReader(python.getInputStream(), UTF_8));
    if (replies.readLine() == null) {
      enter("error");
      throw new IllegalStateException("the Python interpreter did not start");
    }
    enter("idle");
    ready.countDown();
    return new SparkEntries(conf); // asked for nothing: Spark, if any, lives in Python
  }

  /** What PySpark gives to its own spark-submit: for whom Spark runs, and the session's conf. */
  private static String sparkArguments() {
    StringBuilder arguments = new StringBuilder();
    String proxyUser = settings.getProperty(LIVY_PREFIX + "livy.rsc.proxy-user");
    if (proxyUser != null) {
      arguments.append("--proxy-user ").append(quoted(proxyUser)).append(' ');
    }
    for (String key : settings.stringPropertyNames()) {
      // The rest is Livy's own, or names the jars and archives of the driver that is not here.
      if (key.startsWith("spark.")
          && !key.startsWith(LIVY_PREFIX)
          && !key.startsWith("spark.livy.")
          && !key.startsWith("spark.yarn.")
          && !key.equals("spark.jars")
          && !key.equals("spark.submit.pyFiles")) {
        arguments.append("--conf ").append(quoted(key + "=" + settings.getProperty(key)));
        arguments.append(' ');
      }
    }
    return arguments + "pyspark-shell";
  }

  /** One word for a reader that splits as a shell does. */
  private static String quoted(String word) {
    return "'" + word.replace("'", "'\"'\"'") + "'";
  }

  /**
   * Nothing is said before the interpreter is there: all connections of Livy 0.7.1 share one list of
   * what awaits a reply, and when the first one ends, which only told the server where this driver
   * is, that list is thrown away. A reply that then comes ends its connection, and the session.
   */
  @Override
  protected synchronized void onClientAuthenticated(Rpc client) {
    authenticated.add(client);
    if (!state.equals("starting")) {
      tell(client, state);
    }
  }

  @Override
  protected void shutdownContext() {
    interpreter.shutdownNow();
    answers.shutdownNow();
    if (python != null) {
      python.destroy();
    }
    super.shutdownContext();
  }

  /** The server's own jobs: a ping, and the adding of uploaded files. Users' jobs come bypassed. */
  public void handle(ChannelHandlerContext context, JobRequest<?> request) {
    answers.execute(() -> {
      try {
        ready.await(); // as Livy's own driver, which does no job before there is a context
        broadcast(new JobResult<Void>(request.id, null, null));
      } catch (InterruptedException e) {
        // the driver ends
      }
    });
  }

  public Integer handle(ChannelHandlerContext context, ReplJobRequest request) {
    String kind = request.codeType != null ? request.codeType : sessionKind;
    if (kind.equals("shared")) {
      throw new IllegalArgumentException(
          "Code type should be specified if session kind is shared");
    }
    Statement statement;
    synchronized (statements) {
      statement = new Statement(nextId++, request.code, StatementState.Waiting, null);
      statements.put(statement.id, statement);
      while (statements.size() > retained) {
        statements.pollFirstEntry();
      }
    }
    interpreter.execute(() -> run(statement, kind));
    return statement.id;
  }

  public ReplJobResults handle(ChannelHandlerContext context, GetReplJobResults request) {
    synchronized (statements) {
      Collection<Statement> chosen =
          request.allResults
              ? statements.values()
              : statements.subMap(request.from, request.from + request.size).values();
      chosen.forEach(statement -> statement.updateProgress(0.0));
      return new ReplJobResults(chosen.toArray(new Statement[0]));
    }
  }

  public void handle(ChannelHandlerContext context, CancelReplJobRequest request) throws Exception {
    Statement statement;
    synchronized (statements) {
      statement = statements.get(request.id);
    }
    if (statement == null) {
      return;
    }
    if (statement.compareAndTransit(StatementState.Waiting, StatementState.Cancelled)) {
      statement.completed = System.currentTimeMillis();
    } else if (statement.compareAndTransit(StatementState.Running, StatementState.Cancelling)) {
      new ProcessBuilder("kill", "-INT", Long.toString(python.pid())).start();
    }
  }

  public String[] handle(ChannelHandlerContext context, ReplCompleteRequest request) {
    return new String[0];
  }

  private void run(Statement statement, String kind) {
    enter("busy");
    if (statement.compareAndTransit(StatementState.Waiting, StatementState.Running)) {
      statement.started = System.currentTimeMillis();
      statement.output = ask(statement, kind);
    }
    statement.compareAndTransit(StatementState.Running, StatementState.Available);
    statement.compareAndTransit(StatementState.Cancelling, StatementState.Cancelled);
    statement.updateProgress(1.0);
    statement.completed = System.currentTimeMillis();
    boolean last;
    synchronized (statements) {
      last = statement.id == nextId - 1;
    }
    if (!python.isAlive()) {
      enter("error");
    } else if (last) {
      enter("idle");
    }
  }

  /** One line each way; the reply is the statement's `output` in JSON. */
  private String ask(Statement statement, String kind) {
    String code = Base64.getEncoder().encodeToString(statement.code.getBytes(UTF_8));
    try {
      requests.write((statement.id + " " + kind + " " + code + "\n").getBytes(UTF_8));
      requests.flush();
      String reply = replies.readLine();
      if (reply != null) {
        return reply;
      }
    } catch (java.io.IOException e) {
      // falls through: the interpreter is gone
    }
    return "{\"status\":\"error\",\"execution_count\":" + statement.id
        + ",\"ename\":\"Error\",\"evalue\":\"Interpreter died\",\"traceback\":[]}";
  }

  // Not broadcast(): that also writes to a connection whose login is not done, and fails there.
  private synchronized void enter(String newState) {
    state = newState;
    authenticated.retainAll(clients); // RSCDriver drops those that left
    authenticated.forEach(client -> tell(client, newState));
  }

  private static void tell(Rpc client, String state) {
    try {
      client.call(new ReplState(state));
    } catch (Exception e) {
      System.err.println("stand-in: the server was not told of state " + state + ": " + e);
    }
  }
}
