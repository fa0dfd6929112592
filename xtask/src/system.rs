//! System packages that the tests need: RabbitMQ 3.10 and, in a folder of its own, 4.3.

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
