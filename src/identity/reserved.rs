//! The names that nobody becomes by accident: the accounts of the cluster's own services.

/// Names that a template can never produce and for which no delegate may act.
#[derive(Debug)]
pub(super) struct Reserved {
    also: Vec<String>,
}

impl Reserved {
    pub(super) fn with(also: Vec<String>) -> Result<Self, String> {
        if also.iter().any(String::is_empty) {
            return Err("also_reserved has an empty name; leave it out".to_owned());
        }
        Ok(Self { also })
    }

    /// Without regard to case, and without what follows an `@`: Hadoop's `auth_to_local` rules commonly cut the
    /// realm off, which would turn `hdfs@ANYWHERE` into hdfs behind the gateway's back.
    pub(super) fn contains(&self, name: &str) -> bool {
        is_built_in(name) || self.also.iter().any(|reserved| is_same(reserved, name))
    }
}

/// Whether it is one of those that are always reserved.
pub(super) fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|reserved| is_same(reserved, name))
}

fn is_same(reserved: &str, name: &str) -> bool {
    let short = name.split('@').next().unwrap_or(name);
    reserved.eq_ignore_ascii_case(name) || reserved.eq_ignore_ascii_case(short)
}

// The superusers and service accounts of Hadoop distributions, and the machine's own. Not `admin`: it is no account
// of the cluster, and the login that HDInsight gives to its people.
const BUILT_IN: &[&str] = &[
    "root",
    "daemon",
    "nobody",
    "hadoop",
    "hdfs",
    "httpfs",
    "yarn",
    "yarn-ats",
    "mapred",
    "hive",
    "hcat",
    "impala",
    "hbase",
    "phoenix",
    "accumulo",
    "kudu",
    "livy",
    "spark",
    "hue",
    "oozie",
    "knox",
    "ranger",
    "rangeradmin",
    "rangerlookup",
    "rangertagsync",
    "rangerusersync",
    "atlas",
    "sentry",
    "kms",
    "keyadmin",
    "zookeeper",
    "kafka",
    "storm",
    "sqoop",
    "flume",
    "falcon",
    "solr",
    "ambari",
    "ambari-qa",
    "ams",
    "tez",
    "druid",
    "nifi",
    "http",
    "kadmin",
    "krbtgt",
    "dr.who",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_is_reserved_in_any_case_and_any_realm() {
        let reserved = Reserved::with(vec!["ETL-root".into()]).unwrap();
        for name in [
            "root",
            "HDFS",
            "Livy",
            "hdfs@CORP.EXAMPLE",
            "etl-root",
            "etl-ROOT@x",
        ] {
            assert!(reserved.contains(name), "{name}");
        }
        for name in ["alice", "rooter", "x-hdfs", "alice@hdfs", "hdfs.alice"] {
            assert!(!reserved.contains(name), "{name}");
        }
    }

    #[test]
    fn an_empty_name_is_not_reserved_silently() {
        assert!(Reserved::with(vec![String::new()]).is_err());
    }
}
