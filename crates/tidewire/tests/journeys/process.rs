//! A server in a process of its own, so that it can be killed: this very program, started again to do
//! nothing but [`a_server_in_a_process_of_its_own`].

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tidewire::{
    Tidewire,
    config::{self, Environment},
};

use crate::support::until;

const FOLDER: &str = "TIDEWIRE_TEST_JOURNEY";

pub(super) struct Process {
    folder: tempfile::TempDir,
    child: Child,
    url: String,
}

impl Process {
    pub(super) async fn start(features: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("features.toml"), features).unwrap();
        let (child, url) = spawn(folder.path()).await;
        Self { folder, child, url }
    }

    pub(super) fn at(&self, path: &str) -> String {
        format!("{}v1{path}", self.url)
    }

    /// Ends it, without a word or politely, and starts it again on the same data.
    pub(super) async fn restart(&mut self, is_kill: bool) {
        if is_kill {
            self.child.kill().unwrap();
        }
        // The end of its input is how it is asked to go.
        drop(self.child.stdin.take());
        until("it has ended", async || self.child.try_wait().unwrap().is_some()).await;
        (self.child, self.url) = spawn(self.folder.path()).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn spawn(folder: &Path) -> (Child, String) {
    let _ = std::fs::remove_file(folder.join("url"));
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["journeys::process::a_server_in_a_process_of_its_own", "--exact", "--ignored"])
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let url = folder.join("url");
    until("it listens", async || url.exists()).await;
    (child, std::fs::read_to_string(url).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the journeys start it, in a process of its own"]
async fn a_server_in_a_process_of_its_own() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let text = std::fs::read_to_string(folder.join("features.toml")).unwrap();
    let loaded = config::parse(&text, Path::new("features.toml"), &Environment::default());
    let mut settings = loaded.unwrap().settings;
    settings.listen = "127.0.0.1:0".parse().unwrap();
    settings.data = folder.join("log");
    let tidewire = Tidewire::builder(settings).dev().open().await.unwrap();
    let listener = tidewire.bind().unwrap();
    let url = tidewire.url(listener.local_addr().unwrap());
    // Whole or not at all: the other process waits for it.
    std::fs::write(folder.join("url.new"), url).unwrap();
    std::fs::rename(folder.join("url.new"), folder.join("url")).unwrap();
    let (asked, to_go) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        drop(asked);
    });
    let shutdown = async {
        let _ = to_go.await;
    };
    tidewire.serve(listener, shutdown).await.unwrap();
}
