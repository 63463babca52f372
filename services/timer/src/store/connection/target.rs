//! What `redis.url` names: one server, a master that sentinels watch, or a cluster.

use redis::{ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

const SENTINEL_PORT: u16 = 26_379;
const REDIS_PORT: u16 = 6_379;

/// Where Redis is.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// One server.
    Single(Box<ConnectionInfo>),
    /// The master of this name, as the sentinels know it.
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        master_name: String,
        /// Credentials and database of the master.
        master: Box<RedisConnectionInfo>,
    },
    /// The cluster that these nodes belong to.
    Cluster {
        /// Nodes to ask for the others.
        seeds: Vec<ConnectionInfo>,
    },
}

impl Target {
    /// Reads a URL; says what is wrong with it, without repeating it: it may hold a password.
    pub(crate) fn parse(url: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or(
            "must begin with redis://, redis+unix://, redis+sentinel:// or redis+cluster://",
        )?;
        match scheme {
            "redis" | "redis+unix" | "unix" => {
                let info = url.into_connection_info();
                let info =
                    info.map_err(|_| "must be redis://host:port/database, or redis+unix:///path")?;
                Ok(Self::Single(Box::new(info)))
            }
            "redis+sentinel" => Parts::of(rest)?.sentinel(),
            "redis+cluster" => Parts::of(rest)?.cluster(),
            "rediss" | "rediss+sentinel" | "rediss+cluster" => Err(
                "asks for TLS, which this build has not: put a TLS proxy beside the timer, or use redis://",
            ),
            _ => Err(
                "must begin with redis://, redis+unix://, redis+sentinel:// or redis+cluster://",
            ),
        }
    }
}

/// The parts of `[user:password@]host[:port][,host[:port]...][/path][?query]`, as they stand there.
struct Parts<'a> {
    credentials: &'a str,
    hosts: Vec<&'a str>,
    path: Vec<&'a str>,
    query: Vec<(&'a str, &'a str)>,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, &'static str> {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let parts = Self {
            credentials,
            hosts: hosts.split(',').collect(),
            path: path.split('/').filter(|part| !part.is_empty()).collect(),
            query: query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .collect(),
        };
        if parts.hosts.iter().any(|host| host.is_empty()) {
            return Err("must name hosts, as in host1:port,host2:port");
        }
        Ok(parts)
    }

    /// `redis+sentinel://[user:password@]host[:port],.../master-name[/database][?sentinel_username=&sentinel_password=]`,
    /// as other tools write it. The credentials are the master's.
    fn sentinel(&self) -> Result<Target, &'static str> {
        let (master_name, database) = match self.path.as_slice() {
            [name] => (*name, "0"),
            [name, database] => (*name, *database),
            _ => return Err("must end with the master's name, as in /mymaster or /mymaster/0"),
        };
        let (mut user, mut password) = ("", "");
        for (key, value) in &self.query {
            match *key {
                "sentinel_username" => user = value,
                "sentinel_password" => password = value,
                _ => {
                    return Err(
                        "may have the parameters sentinel_username and sentinel_password only",
                    );
                }
            }
        }
        let own = if user.is_empty() && password.is_empty() {
            String::new()
        } else {
            format!("{user}:{password}")
        };
        let sentinels = self
            .hosts
            .iter()
            .map(|host| server(&own, host, SENTINEL_PORT, "0"))
            .collect::<Result<_, _>>()?;
        let master = server(self.credentials, "localhost", REDIS_PORT, database)?;
        Ok(Target::Sentinel {
            sentinels,
            master_name: master_name.to_owned(),
            master: Box::new(master.redis_settings().clone()),
        })
    }

    /// `redis+cluster://[user:password@]host[:port],...`: any of the nodes. A cluster has no databases.
    fn cluster(&self) -> Result<Target, &'static str> {
        if !self.query.is_empty() {
            return Err("may have no parameters for a cluster");
        }
        if !matches!(self.path.as_slice(), [] | ["0"]) {
            return Err("may name no database: a cluster has none");
        }
        let seeds = self
            .hosts
            .iter()
            .map(|host| server(self.credentials, host, REDIS_PORT, "0"))
            .collect::<Result<_, _>>()?;
        Ok(Target::Cluster { seeds })
    }
}

/// One server, by the rules for `redis://`.
fn server(
    credentials: &str,
    host: &str,
    port: u16,
    database: &str,
) -> Result<ConnectionInfo, &'static str> {
    // What follows the last colon is the port, unless that colon belongs to an IPv6 address in brackets.
    let has_port = host.rfind(':') > host.rfind(']');
    let port = if has_port {
        String::new()
    } else {
        format!(":{port}")
    };
    let at = if credentials.is_empty() { "" } else { "@" };
    let url = format!("redis://{credentials}{at}{host}{port}/{database}");
    url.into_connection_info()
        .map_err(|_| "has a host, port, database or user that can't be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(infos: &[ConnectionInfo]) -> Vec<String> {
        infos.iter().map(|info| info.addr().to_string()).collect()
    }

    #[test]
    fn one_server() {
        for (url, address) in [
            ("redis://cache:7000/3", "cache:7000"),
            ("redis+unix:///run/redis.sock", "/run/redis.sock"),
        ] {
            let Ok(Target::Single(info)) = Target::parse(url) else {
                panic!("{url}");
            };
            assert_eq!(info.addr().to_string(), address);
        }
    }

    #[test]
    fn a_master_behind_sentinels() {
        let url = "redis+sentinel://timer:p%40ss@s1:1234,[::1],s3/desk/2?sentinel_password=watch";
        let Ok(Target::Sentinel {
            sentinels,
            master_name,
            master,
        }) = Target::parse(url)
        else {
            panic!("it is valid");
        };
        assert_eq!(addresses(&sentinels)[0], "s1:1234");
        assert!(addresses(&sentinels)[1].ends_with(":26379"));
        assert_eq!(addresses(&sentinels)[2], "s3:26379");
        assert_eq!(sentinels[0].redis_settings().password(), Some("watch"));
        assert_eq!(master_name, "desk");
        assert_eq!(
            (master.username(), master.password()),
            (Some("timer"), Some("p@ss"))
        );
        assert_eq!(master.db(), 2);
    }

    #[test]
    fn a_cluster() {
        let Ok(Target::Cluster { seeds }) = Target::parse("redis+cluster://:secret@a:1,b") else {
            panic!("it is valid");
        };
        assert_eq!(addresses(&seeds), ["a:1", "b:6379"]);
        assert_eq!(seeds[1].redis_settings().password(), Some("secret"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, problem) in [
            ("localhost", "must begin with"),
            ("http://localhost", "must begin with"),
            ("rediss://localhost", "TLS"),
            ("rediss+cluster://localhost", "TLS"),
            ("redis://:secret@host:port", "must be redis://"),
            ("redis+sentinel://a:1", "master's name"),
            ("redis+sentinel://a:1/x/secret", "can't be read"),
            ("redis+sentinel://a:1/x?secret=1", "sentinel_password only"),
            ("redis+cluster://", "must name hosts"),
            ("redis+cluster://a,,b", "must name hosts"),
            ("redis+cluster://a:secret", "can't be read"),
            ("redis+cluster://a/1", "no database"),
            ("redis+cluster://a?secret=1", "no parameters"),
        ] {
            let told = Target::parse(url).expect_err(url);
            assert!(told.contains(problem), "{url}: {told}");
            assert!(!told.contains("secret"), "{told}");
        }
    }
}
