//! The password of the broker's user is changed.

use crate::{
    faults::{fleet::Fleet, making::Making},
    process::Result,
};
use pumasi_testkit::{faults::ledger::Target, rabbitmq::PASSWORD};

/// Writes the new password where the processes read it, changes it in the broker, and closes all
/// connections, as an operator would.
pub(super) fn rotate(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let node = making.stage.node()?;
    let user = making.stage.user.as_str();
    let password = format!("secret-{}", making.below(u64::MAX));
    let mark = making.begin(fleet, Target::All)?;
    fleet.write_password(&password)?;
    let said = node.ctl(&[
        "eval",
        &format!(
            "ok = rabbit_auth_backend_internal:change_password(\
               <<\"{user}\">>, <<\"{password}\">>, <<\"fault\">>), \
             Cs = rabbit_networking:connections(), \
             [rabbit_networking:close_connection(C, <<\"fault\">>) || C <- Cs], length(Cs)."
        ),
    ]);
    making.healed(fleet, mark)?;
    let count = said.trim();
    let checked = node.ctl(&[
        "eval",
        &format!(
            "[element(1, rabbit_access_control:check_user_pass_login(<<\"{user}\">>, P)) \
             || P <- [<<\"{PASSWORD}\">>, <<\"{password}\">>]]."
        ),
    ]);
    if checked.trim() != "[refused,ok]" {
        return Err(format!("the password was not changed: {checked}"));
    }
    making.bit(
        fleet,
        mark,
        format!("{count} connections closed; the old password is refused"),
    )
}
