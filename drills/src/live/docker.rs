//! The `docker` command, as a person would use it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;
use tokio::time::timeout;

/// No single command takes longer; stopping sensors waits until they have delivered.
const DONE_WITHIN: Duration = Duration::from_secs(120);

/// Docker's id of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container(String);

/// Runs `docker` with these arguments and returns what it prints.
///
/// # Errors
/// That it is not there, does not end, or what it complains about.
async fn docker(arguments: &[&str]) -> anyhow::Result<String> {
    let words = || format!("docker {}", arguments.join(" "));
    let mut command = Command::new("docker");
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(DONE_WITHIN, command.output())
        .await
        .with_context(|| format!("'{}' does not end", words()))?
        .context("cannot run the docker command")?;
    ensure!(
        output.status.success(),
        "'{}': {}",
        words(),
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The containers of a Compose project, with the names of their services; those that have ended, too.
///
/// # Errors
/// As Docker says.
pub async fn containers(project: &str) -> anyhow::Result<Vec<(String, Container)>> {
    let filter = format!("label=com.docker.compose.project={project}");
    let format = "{{.Label \"com.docker.compose.service\"}} {{.ID}}";
    let text = docker(&["ps", "--all", "--filter", &filter, "--format", format]).await?;
    let pair = |line: &str| {
        let (service, id) = line.split_once(' ')?;
        Some((service.to_owned(), Container(id.to_owned())))
    };
    Ok(text.lines().filter_map(pair).collect())
}

/// The same to several containers at once: `kill`, `start`, `stop`, `pause`, `unpause`.
///
/// # Errors
/// As Docker says.
pub async fn all(verb: &str, containers: &[Container]) -> anyhow::Result<()> {
    let mut arguments = vec![verb];
    arguments.extend(containers.iter().map(|container| container.0.as_str()));
    docker(&arguments).await.map(drop)
}

/// Stops containers, and gives them a minute to end by themselves.
///
/// # Errors
/// As Docker says.
pub async fn stop_patiently(containers: &[Container]) -> anyhow::Result<()> {
    let mut arguments = vec!["stop", "--time", "60"];
    arguments.extend(containers.iter().map(|container| container.0.as_str()));
    docker(&arguments).await.map(drop)
}

impl Container {
    /// One of [`all`]'s verbs.
    ///
    /// # Errors
    /// As Docker says.
    pub async fn to(&self, verb: &str) -> anyhow::Result<()> {
        all(verb, std::slice::from_ref(self)).await
    }

    /// What a Go template makes of what Docker knows of it.
    ///
    /// # Errors
    /// As Docker says.
    pub async fn inspect(&self, template: &str) -> anyhow::Result<String> {
        let text = docker(&["inspect", "--format", template, &self.0]).await?;
        Ok(text.trim_end().to_owned())
    }

    /// Runs a command in it.
    ///
    /// # Errors
    /// As Docker says, or the command.
    pub async fn run(&self, command: &[&str]) -> anyhow::Result<String> {
        docker(&[&["exec", &self.0], command].concat()).await
    }

    /// Runs a command of its image on its volumes, whether it runs or not.
    ///
    /// # Errors
    /// As [`Container::run`].
    pub async fn run_beside(&self, command: &[&str]) -> anyhow::Result<String> {
        let image = self.inspect("{{.Config.Image}}").await?;
        let user = self.inspect("{{.Config.User}}").await?;
        let options = ["run", "--rm", "--network", "none", "--volumes-from", &self.0];
        let rest = ["--tmpfs", "/site/run:uid=10001,gid=10001", "--user", &user, &image];
        docker(&[&options, &rest[..], command].concat()).await
    }

    /// Copies a file out of it, whether it runs or not.
    ///
    /// # Errors
    /// As Docker says.
    pub async fn copy_out(&self, file: &str, to: &str) -> anyhow::Result<()> {
        docker(&["cp", &format!("{}:{file}", self.0), to]).await.map(drop)
    }

    /// Where on this machine the port is published.
    ///
    /// # Errors
    /// If it is not.
    pub async fn published(&self, port: u16) -> anyhow::Result<String> {
        let text = docker(&["port", &self.0, &port.to_string()]).await?;
        text.lines().next().map(str::to_owned).context("the port is not published")
    }

    /// The networks of this name that it is in, and its other names there.
    ///
    /// # Errors
    /// If there is none.
    pub async fn network(&self, name: &str) -> anyhow::Result<String> {
        let networks = "{{range $name, $network := .NetworkSettings.Networks}}{{$name}}\n{{end}}";
        let text = self.inspect(networks).await?;
        let found = text.lines().find(|network| network.ends_with(&format!("_{name}")));
        match found {
            Some(network) => Ok(network.to_owned()),
            None => bail!("it is in no network {name:?}"),
        }
    }

    /// Cuts it off a network.
    ///
    /// # Errors
    /// As Docker says.
    pub async fn disconnect(&self, network: &str) -> anyhow::Result<()> {
        docker(&["network", "disconnect", network, &self.0]).await.map(drop)
    }

    /// Puts it back, under the name of its service.
    ///
    /// # Errors
    /// As Docker says.
    pub async fn connect(&self, network: &str, service: &str) -> anyhow::Result<()> {
        docker(&["network", "connect", "--alias", service, network, &self.0]).await.map(drop)
    }
}
