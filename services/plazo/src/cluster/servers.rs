//! The PostgreSQL and Redis servers of a cluster: private ones, or given ones.

use plazo_local::{
    DataFolder, LocalError, PostgresOptions, PostgresServer, RedisOptions, RedisServer,
};
use url::Url;

use super::databases;
use super::error::ClusterError;
use super::options::{ClusterOptions, Service};

/// The servers. A private one is there, or the URL of a given one.
#[derive(Debug)]
pub(super) struct Servers {
    // Redis ends before PostgreSQL, also when both are dropped.
    pub(super) redis: Option<RedisServer>,
    pub(super) postgres: Option<PostgresServer>,
    given_redis: Option<String>,
    given_postgres: Option<Url>,
}

impl Servers {
    /// Starts what is not given, and makes the databases that are missing.
    pub(super) async fn start(options: &ClusterOptions) -> Result<Self, ClusterError> {
        let given_postgres = options
            .database_url
            .as_deref()
            .map(databases::parse)
            .transpose()?;
        let given_redis = options.redis_url.clone();
        let (postgres, redis) = tokio::try_join!(
            async {
                if given_postgres.is_some() {
                    Ok(None)
                } else {
                    postgres(options).await.map(Some)
                }
            },
            async {
                if given_redis.is_some() {
                    Ok(None)
                } else {
                    redis(options).await.map(Some)
                }
            },
        )?;
        let servers = Self {
            redis,
            postgres,
            given_redis,
            given_postgres,
        };
        match (&servers.postgres, &servers.given_postgres) {
            (Some(server), _) => {
                for service in databases::owners() {
                    server.create_database(service.name()).await?;
                }
            }
            (None, Some(url)) => databases::create(url).await?,
            (None, None) => {}
        }
        Ok(servers)
    }

    pub(super) fn database_url(&self, service: Service) -> Option<String> {
        if !databases::owners().any(|owner| owner == service) {
            return None;
        }
        match (&self.postgres, &self.given_postgres) {
            (Some(server), _) => Some(server.database_url(service.name())),
            (None, Some(url)) => Some(databases::on_server(url, service.name())),
            (None, None) => None,
        }
    }

    pub(super) fn redis_url(&self) -> String {
        match (&self.redis, &self.given_redis) {
            (Some(server), _) => server.url(),
            (None, Some(url)) => url.clone(),
            (None, None) => String::new(),
        }
    }

    /// Waits until a private server ends by itself.
    pub(super) async fn ended(&mut self) -> ClusterError {
        let postgres = async {
            let Some(server) = &mut self.postgres else {
                return std::future::pending().await;
            };
            server.ended().await;
            ended("PostgreSQL", &server.log_path())
        };
        let redis = async {
            let Some(server) = &mut self.redis else {
                return std::future::pending().await;
            };
            server.ended().await;
            ended("Redis", &server.log_path())
        };
        tokio::select! {
            error = postgres => error,
            error = redis => error,
        }
    }

    /// Ends the private servers in order, Redis first. Both are tried.
    pub(super) async fn stop(&mut self) -> Result<(), ClusterError> {
        let redis = match &mut self.redis {
            Some(server) => server.stop().await,
            None => Ok(()),
        };
        let postgres = match &mut self.postgres {
            Some(server) => server.stop().await,
            None => Ok(()),
        };
        Ok(redis.and(postgres)?)
    }

    /// Ends the private servers at once. Both are tried.
    pub(super) async fn kill(&mut self) -> Result<(), ClusterError> {
        let redis = match &mut self.redis {
            Some(server) => server.kill().await,
            None => Ok(()),
        };
        let postgres = match &mut self.postgres {
            Some(server) => server.kill().await,
            None => Ok(()),
        };
        Ok(redis.and(postgres)?)
    }
}

async fn postgres(options: &ClusterOptions) -> Result<PostgresServer, LocalError> {
    let folder = sub_folder(&options.data, "postgres");
    PostgresServer::start(PostgresOptions::new(folder).durable(options.durable)).await
}

async fn redis(options: &ClusterOptions) -> Result<RedisServer, LocalError> {
    let folder = sub_folder(&options.data, "redis");
    RedisServer::start(RedisOptions::new(folder)).await
}

fn sub_folder(data: &DataFolder, name: &str) -> DataFolder {
    match data {
        DataFolder::Temporary => DataFolder::Temporary,
        DataFolder::Persistent(folder) => DataFolder::Persistent(folder.join(name)),
    }
}

fn ended(server: &'static str, log: &std::path::Path) -> ClusterError {
    ClusterError::ServerEnded {
        server,
        log: log.display().to_string(),
    }
}
