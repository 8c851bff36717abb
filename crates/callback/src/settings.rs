//! The callback service needs what every service needs, and no more.

use messaging::Service;

/// Makes M-Pesa's story and ours agree: decides about each payment whether it is minted, refunded or held.
///
/// Each setting is a variable or a flag, which goes first. Secrets come from a variable or from a file alone.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "callback", version, after_help = EXAMPLES)]
pub struct CallbackSettings {
    #[command(flatten)]
    pub shared: runtime::Settings,
}

impl runtime::ServiceSettings for CallbackSettings {
    const SERVICE: Service = Service::Callback;

    fn shared(&self) -> runtime::Settings {
        self.shared.clone()
    }
}

const EXAMPLES: &str = "Examples:
  DATABASE_URL_FILE=/run/secrets/database AMQP_URL_FILE=/run/secrets/broker callback --fiatrails-keys-dir /run/keys
  ADMIN_ADDR=127.0.0.1:9090 callback --check-ready";
