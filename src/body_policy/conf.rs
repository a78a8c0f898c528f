//! Which Spark settings of a creation are refused whatever the configuration says, because they carry identity.

use std::borrow::Cow;

use crate::denial::{Denial, quotable};
use crate::livy::json::{StrictObject, string, type_name};

/// What becomes of one `conf` key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfVerdict {
    /// It goes to Livy.
    Keep,
    /// It is left out without a word: Livy's own clients send their whole settings along.
    Drop,
    /// The creation is refused, for this reason.
    Refuse(&'static str),
}

/// Judges a `conf` key, whatever its value.
///
/// Refused are the keys that say for whom, by whose credentials or under whose control a session runs, in any case:
/// Spark and Livy tell keys apart by case, but nobody means another thing by `Spark.Master`. Refused is also every
/// key that is not `spark.` and letters, digits, `.`, `_`, `-`: for batches Livy writes `--conf key=value`, and
/// spark-submit splits that at the first `=`.
///
/// Not refused, since they do not change who a session is, though they deserve an operator's policy: hooks that run
/// code (`*.extraJavaOptions`, `*.extraClassPath`, `spark.plugins`, `spark.extraListeners`), packages
/// (`spark.jars.packages`, `spark.jars.ivySettings`), files (`spark.files`, `spark.archives`, `spark.yarn.dist.*`),
/// `spark.hadoop.*`, `spark.kubernetes.*` (but for Kerberos), `spark.ui.*`, `spark.authenticate*`, the queue, tags,
/// other environment variables, and everything that sizes a session.
pub fn judge_conf_key(key: &str) -> ConfVerdict {
    let lower = key.to_ascii_lowercase();
    if lower == "livy.uri" || lower.starts_with("livy.client.") {
        return ConfVerdict::Drop;
    }
    if let Some(rule) = RULES.iter().find(|rule| rule.pattern.matches(&lower)) {
        return ConfVerdict::Refuse(rule.reason);
    }
    let is_spark = key
        .strip_prefix("spark.")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_key_byte));
    if is_spark {
        ConfVerdict::Keep
    } else {
        ConfVerdict::Refuse(SYNTAX)
    }
}

/// Judges all of a creation's settings; gives back those that Livy gets.
pub(super) fn check(json: &str) -> Result<StrictObject<'_>, Denial> {
    let mut settings = StrictObject::parse(json.as_bytes())?;
    let mut unwanted = Vec::new();
    for (key, json) in settings.members() {
        match judge_conf_key(key) {
            ConfVerdict::Refuse(reason) => return Err(refused(key, reason)),
            ConfVerdict::Drop => unwanted.push(key.to_owned()),
            // Livy passes a null on to Spark, as a setting without a value.
            ConfVerdict::Keep if json == "null" => unwanted.push(key.to_owned()),
            ConfVerdict::Keep => check_value(key, json)?,
        }
    }
    for key in unwanted {
        settings.remove(&key);
    }
    Ok(settings)
}

// Livy takes numbers and booleans by their text, and notebooks rely on that.
fn check_value(key: &str, json: &str) -> Result<(), Denial> {
    let invalid = |problem: Cow<'_, str>| {
        Denial::InvalidBody(format!("The conf key '{}' {problem}.", quotable(key)).into())
    };
    match json.bytes().next() {
        Some(b'"') => {
            let value = string(json).map_err(|problem| invalid(problem.into()))?;
            if value.contains(['\0', '\r', '\n']) {
                return Err(invalid("has a line break or a NUL in its value".into()));
            }
            // Hadoop looks for these names in the environment, then among Java's system properties, which
            // `-DHADOOP_USER_NAME=…` in a dozen settings for Java options would set.
            let value = value.to_ascii_uppercase();
            if USER_VARIABLES.iter().any(|name| value.contains(name)) {
                return Err(refused(
                    key,
                    "its value names a variable by which Hadoop is told who the user is",
                ));
            }
            Ok(())
        }
        Some(b'{' | b'[') => {
            let problem = format!(
                "must have a string, a number, true or false, not {}",
                type_name(json)
            );
            Err(invalid(problem.into()))
        }
        _ => Ok(()),
    }
}

fn refused(key: &str, rule: &'static str) -> Denial {
    Denial::ConfRefused {
        key: quotable(key),
        rule,
    }
}

const fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

struct Rule {
    pattern: Pattern,
    reason: &'static str,
}

// All in lower case.
enum Pattern {
    Exactly(&'static str),
    StartsWith(&'static str),
    /// One of the parts between the dots: `spark.executorEnv.NAME`, `spark.kubernetes.driver.secretKeyRef.NAME`.
    HasPart(&'static str),
    /// Anywhere, and however its words are joined.
    NamesProxyUser,
}

impl Pattern {
    fn matches(&self, key: &str) -> bool {
        match self {
            Self::Exactly(text) => key == *text,
            Self::StartsWith(prefix) => key.starts_with(prefix),
            Self::HasPart(part) => key.split('.').any(|found| found == *part),
            Self::NamesProxyUser => key.replace(['.', '_', '-'], "").contains("proxyuser"),
        }
    }
}

const USER_VARIABLES: [&str; 2] = ["HADOOP_USER_NAME", "HADOOP_PROXY_USER"];

const SYNTAX: &str = "a key is 'spark.' and then letters, digits, '.', '_' or '-' only";
const PROXY: &str = "it would change for whom the session runs; the gateway sets the user";
const LIVY: &str =
    "settings of Livy itself belong to its operator; some change for whom or where the session runs";
const WHERE: &str = "where the driver runs and how it is submitted is decided by Livy's operator";
const KERBEROS: &str = "a session uses the credentials that Livy gets for its user, and no others";
const ENVIRONMENT: &str = "this variable would change who the user is, or by whose credentials";

// First match wins; the order matters for the reason only.
const RULES: [Rule; 16] = [
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
    // A secret of the cluster with somebody's delegation tokens.
    rule(Pattern::StartsWith("spark.kubernetes.kerberos."), KERBEROS),
    rule(Pattern::HasPart("hadoop_user_name"), ENVIRONMENT),
    rule(Pattern::HasPart("hadoop_proxy_user"), ENVIRONMENT),
    // Executors read and write files as this user where there is no Kerberos.
    rule(Pattern::HasPart("spark_user"), ENVIRONMENT),
    rule(Pattern::HasPart("hadoop_token_file_location"), ENVIRONMENT),
    rule(Pattern::HasPart("krb5ccname"), ENVIRONMENT),
    rule(Pattern::HasPart("krb5_ktname"), ENVIRONMENT),
];

const fn rule(pattern: Pattern, reason: &'static str) -> Rule {
    Rule { pattern, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(key: &str) -> bool {
        matches!(judge_conf_key(key), ConfVerdict::Refuse(_))
    }

    #[test]
    fn keys_that_carry_identity_are_refused_in_any_case() {
        for key in [
            "livy.rsc.proxy-user",
            "livy.rsc.proxy_user",
            "livy.rsc.client.do-not-use.run-driver-in-process",
            "livy.rsc.client.do_not_use.run_driver_in_process",
            "livy.rsc.launcher.address",
            "livy.rsc.jars",
            "livy.rsc.server.idle_timeout",
            "livy.spark.master",
            "livy.impersonation.enabled",
            "spark.__livy__.livy.rsc.proxy_user",
            "spark.__livy__.x",
            "spark.master",
            "spark.submit.deployMode",
            "spark.submit.proxyUser.allowCustomClasspathInClusterMode",
            "spark.submit.pyFiles",
            "spark.kerberos.principal",
            "spark.kerberos.keytab",
            "spark.kerberos.access.hadoopFileSystems",
            "spark.yarn.principal",
            "spark.yarn.keytab",
            "spark.kubernetes.kerberos.tokenSecret.name",
            "spark.yarn.appMasterEnv.HADOOP_USER_NAME",
            "spark.executorEnv.HADOOP_USER_NAME",
            "spark.kubernetes.driverEnv.HADOOP_USER_NAME",
            "spark.kubernetes.driver.secretKeyRef.HADOOP_USER_NAME",
            "spark.executorEnv.HADOOP_PROXY_USER",
            "spark.yarn.appMasterEnv.SPARK_USER",
            "spark.executorEnv.KRB5CCNAME",
            "spark.executorEnv.HADOOP_TOKEN_FILE_LOCATION",
            "spark.hadoop.hadoop.proxyuser.livy.hosts",
            "spark.hive.server2.proxy.user",
        ] {
            for spelling in [key.to_owned(), key.to_uppercase(), key.to_lowercase()] {
                assert!(is_refused(&spelling), "{spelling}");
            }
        }
    }

    #[test]
    fn ordinary_settings_are_kept() {
        for key in [
            "spark.executor.memory",
            "spark.dynamicAllocation.enabled",
            "spark.app.name",
            "spark.yarn.queue",
            "spark.yarn.appMasterEnv.PYSPARK_PYTHON",
            "spark.executorEnv.PYTHONPATH",
            "spark.sql.shuffle.partitions",
            "spark.hadoop.fs.azure.account.key.some-account.blob.core.windows.net",
            "spark.driver.userClassPathFirst",
            "spark.ui.proxyBase",
        ] {
            assert_eq!(judge_conf_key(key), ConfVerdict::Keep, "{key}");
        }
    }

    #[test]
    fn what_livys_own_clients_say_about_themselves_is_dropped() {
        for key in [
            "livy.uri",
            "livy.client.http.connection.timeout",
            "livy.client.x",
            "LIVY.URI",
        ] {
            assert_eq!(judge_conf_key(key), ConfVerdict::Drop, "{key}");
        }
        for key in ["livy.uri.x", "livy.client", "livy.clients.x", "livy.uri "] {
            assert!(is_refused(key), "{key}");
        }
    }

    #[test]
    fn a_key_that_spark_submit_could_split_or_trim_is_refused() {
        for key in [
            "",
            "spark",
            "spark.",
            " spark.a",
            "spark.a ",
            "spark.a\n",
            "spark.a=b",
            "spark.driver.extraJavaOptions=-javaagent:/x.jar",
            "spark.a,b",
            "spark.a/b",
            "spark.\u{430}",
            "spark.mas\u{212a}er",
            "Spark.executor.memory",
            "hive.x",
            "--conf",
        ] {
            assert!(is_refused(key), "{key:?}");
        }
    }

    #[test]
    fn values_are_scalars_and_stay_as_they_were_written() {
        let kept = check(r#"{"spark.a":false,"spark.b":1.10,"spark.c":"\u0078","spark.d":null}"#).unwrap();
        assert_eq!(
            kept.to_string(),
            r#"{"spark.a":false,"spark.b":1.10,"spark.c":"\u0078"}"#
        );
        for value in [
            "{}",
            "[]",
            "[\"a\"]",
            r#""a\nb""#,
            r#""a\u0000""#,
            r#""a\r""#,
            r#""\ud800""#,
        ] {
            let body = format!("{{\"spark.a\":{value}}}");
            assert!(matches!(check(&body), Err(Denial::InvalidBody(_))), "{value}");
        }
    }

    #[test]
    fn a_null_does_not_excuse_a_key_that_is_refused() {
        assert!(matches!(
            check(r#"{"spark.master":null}"#),
            Err(Denial::ConfRefused { .. })
        ));
    }

    #[test]
    fn hadoops_user_cannot_be_set_through_java_options_or_another_variable() {
        for (key, value) in [
            ("spark.driver.extraJavaOptions", "-Xmx1g -DHADOOP_USER_NAME=hdfs"),
            ("spark.executorEnv.JAVA_TOOL_OPTIONS", "-Dhadoop_proxy_user=bob"),
            ("spark.a", r"-DHADOOP\u005fUSER_NAME=hdfs"),
        ] {
            let body = format!("{{\"{key}\":\"{value}\"}}");
            assert!(matches!(check(&body), Err(Denial::ConfRefused { .. })), "{body}");
        }
    }
}
