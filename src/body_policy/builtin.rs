//! The `conf` keys that are refused unless somebody may know better, and those that are refused in any case.
//!
//! Keys are compared in lower case: Spark and Livy tell them apart by case, but nobody means another thing by
//! `Spark.Master`.

/// One built-in refusal.
#[derive(Debug)]
pub(super) struct Rule {
    pattern: Pattern,
    pub(super) reason: &'static str,
}

// All in lower case.
#[derive(Debug)]
enum Pattern {
    Exactly(&'static str),
    StartsWith(&'static str),
    /// One of the parts between the dots: `spark.executorEnv.NAME`, `spark.driver.extraJavaOptions`.
    HasPart(&'static str),
    /// Anywhere, and however its words are joined.
    NamesProxyUser,
}

impl Rule {
    pub(super) fn matches(&self, key: &str) -> bool {
        match self.pattern {
            Pattern::Exactly(text) => key == text,
            Pattern::StartsWith(prefix) => key.starts_with(prefix),
            Pattern::HasPart(part) => key.split('.').any(|found| found == part),
            Pattern::NamesProxyUser => key.replace(['.', '_', '-'], "").contains("proxyuser"),
        }
    }

    /// Whether it refuses every key that begins with `prefix`, which ends with a dot.
    pub(super) fn covers(&self, prefix: &str) -> bool {
        match self.pattern {
            Pattern::Exactly(_) => false,
            Pattern::StartsWith(own) => prefix.starts_with(own),
            Pattern::HasPart(part) => prefix
                .strip_suffix('.')
                .is_some_and(|stem| stem.split('.').any(|found| found == part)),
            Pattern::NamesProxyUser => self.matches(prefix),
        }
    }
}

/// The refusal that always holds for a key in lower case: it says for whom, by whose credentials or under whose
/// control a session runs.
pub(super) fn identity_rule(key: &str) -> Option<&'static Rule> {
    IDENTITY.iter().find(|rule| rule.matches(key))
}

/// The refusal that holds for a key in lower case unless the operator opens it.
pub(super) fn unsafe_rule(key: &str) -> Option<&'static Rule> {
    UNSAFE.iter().find(|rule| rule.matches(key))
}

/// The same for all keys that begin with `prefix`.
pub(super) fn identity_rule_of_all(prefix: &str) -> Option<&'static Rule> {
    IDENTITY.iter().find(|rule| rule.covers(prefix))
}

/// The same for all keys that begin with `prefix`.
pub(super) fn unsafe_rule_of_all(prefix: &str) -> Option<&'static Rule> {
    UNSAFE.iter().find(|rule| rule.covers(prefix))
}

const PROXY: &str = "it would change for whom the session runs; the gateway sets the user";
const LIVY: &str =
    "settings of Livy itself belong to its operator; some change for whom or where the session runs";
const WHERE: &str = "where the driver runs and how it is submitted is decided by Livy's operator";
const KERBEROS: &str = "a session uses the credentials that Livy gets for its user, and no others";
const VARIABLE: &str = "this variable would change who the user is, or by whose credentials";

// First match wins; the order matters for the reason only.
const IDENTITY: [Rule; 18] = [
    rule(Pattern::NamesProxyUser, PROXY),
    rule(Pattern::StartsWith("livy."), LIVY),
    // Livy's own way to hand its settings to the driver: the prefix is taken off there, the rest obeyed.
    rule(Pattern::StartsWith("spark.__livy__."), LIVY),
    rule(Pattern::Exactly("spark.master"), WHERE),
    rule(Pattern::StartsWith("spark.submit."), WHERE),
    rule(Pattern::StartsWith("spark.kerberos."), KERBEROS),
    // The names of spark.kerberos.* before Spark 3.0, still obeyed.
    rule(Pattern::Exactly("spark.yarn.principal"), KERBEROS),
    rule(Pattern::Exactly("spark.yarn.keytab"), KERBEROS),
    rule(Pattern::StartsWith("spark.yarn.kerberos."), KERBEROS),
    rule(Pattern::StartsWith("spark.yarn.access."), KERBEROS),
    // A secret of the cluster with somebody's delegation tokens.
    rule(Pattern::StartsWith("spark.kubernetes.kerberos."), KERBEROS),
    // Hadoop's own login, and how it makes users of principals.
    rule(Pattern::StartsWith("spark.hadoop.hadoop.security.auth"), KERBEROS),
    rule(Pattern::HasPart("hadoop_user_name"), VARIABLE),
    rule(Pattern::HasPart("hadoop_proxy_user"), VARIABLE),
    // Executors read and write files as this user where there is no Kerberos.
    rule(Pattern::HasPart("spark_user"), VARIABLE),
    rule(Pattern::HasPart("hadoop_token_file_location"), VARIABLE),
    rule(Pattern::HasPart("krb5ccname"), VARIABLE),
    rule(Pattern::HasPart("krb5_ktname"), VARIABLE),
];

const CODE: &str = "it runs code of your choice where Livy's operator submits the session";
const RESOLUTION: &str = "spark-submit would download or read it on Livy's own host";
const ENVIRONMENT: &str = "variables of the environment change what the driver and executors run";
const HADOOP: &str = "it rewires the file systems and services that the cluster's operator has set";
const KUBERNETES: &str =
    "namespaces, accounts, volumes and images of the cluster are decided by its operator";
const RUNTIME: &str = "which Spark runs, and how the application master does, is decided by Livy's operator";
const PLACES: &str = "where Spark keeps logs, staged files and scratch data is decided by Livy's operator";
const SECURITY: &str = "it weakens who may see, stop or speak to the session, or what is hidden in its logs";
const TAGS: &str = "Livy finds and kills applications by their tags";

// The operator can open single ones: hooks for code, dependencies, environment,
// everything of Hadoop and Kubernetes, and whatever protects a session from others.
const UNSAFE: [Rule; 49] = [
    rule(Pattern::HasPart("extrajavaoptions"), CODE),
    rule(Pattern::HasPart("defaultjavaoptions"), CODE),
    rule(Pattern::HasPart("extraclasspath"), CODE),
    rule(Pattern::HasPart("extralibrarypath"), CODE),
    rule(Pattern::Exactly("spark.plugins"), CODE),
    rule(Pattern::StartsWith("spark.plugins."), CODE),
    rule(Pattern::Exactly("spark.extralisteners"), CODE),
    rule(Pattern::Exactly("spark.sql.extensions"), CODE),
    rule(Pattern::Exactly("spark.sql.queryexecutionlisteners"), CODE),
    rule(
        Pattern::Exactly("spark.sql.streaming.streamingquerylisteners"),
        CODE,
    ),
    rule(Pattern::StartsWith("spark.pyspark."), CODE),
    rule(Pattern::Exactly("spark.r.command"), CODE),
    rule(Pattern::StartsWith("spark.r.driver."), CODE),
    rule(Pattern::StartsWith("spark.r.shell."), CODE),
    rule(Pattern::StartsWith("spark.jars."), RESOLUTION),
    // It can name "maven".
    rule(Pattern::Exactly("spark.sql.hive.metastore.jars"), RESOLUTION),
    rule(Pattern::StartsWith("spark.sql.hive.metastore.jars."), RESOLUTION),
    rule(Pattern::StartsWith("spark.yarn.appmasterenv."), ENVIRONMENT),
    rule(Pattern::StartsWith("spark.executorenv."), ENVIRONMENT),
    rule(Pattern::StartsWith("spark.hadoop."), HADOOP),
    // Spark 3 copies them to Hive's own settings.
    rule(Pattern::StartsWith("spark.hive."), HADOOP),
    rule(Pattern::StartsWith("spark.kubernetes."), KUBERNETES),
    rule(Pattern::StartsWith("spark.mesos."), KUBERNETES),
    rule(Pattern::Exactly("spark.home"), RUNTIME),
    rule(Pattern::Exactly("spark.yarn.jar"), RUNTIME),
    rule(Pattern::Exactly("spark.yarn.jars"), RUNTIME),
    rule(Pattern::Exactly("spark.yarn.archive"), RUNTIME),
    rule(Pattern::StartsWith("spark.yarn.unmanagedam."), RUNTIME),
    rule(Pattern::StartsWith("spark.yarn.am."), RUNTIME),
    rule(Pattern::StartsWith("spark.yarn.config."), RUNTIME),
    rule(Pattern::StartsWith("spark.yarn.submit."), RUNTIME),
    rule(Pattern::Exactly("spark.yarn.stagingdir"), PLACES),
    rule(Pattern::StartsWith("spark.yarn.historyserver."), PLACES),
    rule(Pattern::Exactly("spark.eventlog.dir"), PLACES),
    rule(Pattern::StartsWith("spark.history."), PLACES),
    rule(Pattern::Exactly("spark.local.dir"), PLACES),
    rule(Pattern::StartsWith("spark.driver.log."), PLACES),
    rule(Pattern::StartsWith("spark.ui."), SECURITY),
    rule(Pattern::HasPart("acls"), SECURITY),
    rule(Pattern::Exactly("spark.user.groups.mapping"), SECURITY),
    rule(Pattern::StartsWith("spark.redaction."), SECURITY),
    rule(Pattern::StartsWith("spark.sql.redaction."), SECURITY),
    rule(Pattern::StartsWith("spark.metrics."), SECURITY),
    rule(Pattern::StartsWith("spark.ssl."), SECURITY),
    rule(Pattern::StartsWith("spark.authenticate"), SECURITY),
    rule(Pattern::StartsWith("spark.network.crypto."), SECURITY),
    rule(Pattern::StartsWith("spark.network.sasl."), SECURITY),
    rule(Pattern::Exactly("spark.yarn.tags"), TAGS),
    rule(Pattern::StartsWith("spark.yarn.tags."), TAGS),
];

const fn rule(pattern: Pattern, reason: &'static str) -> Rule {
    Rule { pattern, reason }
}
