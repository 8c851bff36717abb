//! Keys in a hardware security module, through PKCS#11. A key is generated inside the token and never leaves it; a key
//! that is or was ever extractable, or was imported, is refused.

mod secp256k1;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use domain::address::Address;
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{RawSignature, Signer, SignerError};
use secp256k1::{address_of, with_recovery_bit};

/// A new key never leaves its token.
const NOT_EXTRACTABLE: Attribute = Attribute::Extractable(false);
/// Attributes that the token must report for a private key. The first two say what is possible now, the others what was
/// ever possible: a copy of an imported or once readable key may exist anywhere.
const REQUIRED_ATTRIBUTES: [(&str, Attribute); 5] = [
    ("CKA_SENSITIVE", Attribute::Sensitive(true)),
    ("CKA_EXTRACTABLE", Attribute::Extractable(false)),
    ("CKA_LOCAL", Attribute::Local(true)),
    ("CKA_ALWAYS_SENSITIVE", Attribute::AlwaysSensitive(true)),
    ("CKA_NEVER_EXTRACTABLE", Attribute::NeverExtractable(true)),
];
/// Limit for one signature, including the wait for the token; the signer's lease is longer.
const SIGN_TIMEOUT: Duration = Duration::from_secs(2);

/// The PKCS#11 module, the token's label and its PIN.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// The vendor's shared library.
    pub module: PathBuf,
    pub label: String,
    pub pin: SecretString,
}

/// An open token, whose session its keys share.
pub struct Token {
    module: Pkcs11,
    slot: Slot,
    config: TokenConfig,
    session: Mutex<Option<Session>>,
    in_use: Arc<Semaphore>,
}

impl Token {
    /// Loads the module and logs in once, so that a wrong PIN fails at the start.
    pub fn open(config: TokenConfig) -> Result<Arc<Self>, SignerError> {
        let module = Pkcs11::new(&config.module).map_err(|error| {
            SignerError::Unavailable(format!("{} cannot be loaded: {error}", config.module.display()))
        })?;
        let options = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        match module.initialize(options) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(unavailable(&error)),
        }
        let slot = slot_of(&module, &config.label)?;
        let token = Arc::new(Self {
            module,
            slot,
            config,
            session: Mutex::new(None),
            in_use: Arc::new(Semaphore::new(1)),
        });
        token.with_session(|_| Ok(()))?;
        Ok(token)
    }

    /// Generates a key that can never leave the token.
    pub fn generate(self: &Arc<Self>, label: &str) -> Result<TokenKey, SignerError> {
        let taken = self.with_session(|session| session.find_objects(&[Attribute::Label(label.into())]))?;
        if !taken.is_empty() {
            return Err(SignerError::Unusable(format!(
                "the token has a {label:?} already"
            )));
        }
        let public = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::Label(label.into()),
            Attribute::Id(label.into()),
            Attribute::EcParams(secp256k1::OBJECT_IDENTIFIER.to_vec()),
        ];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            NOT_EXTRACTABLE,
            Attribute::Sign(true),
            Attribute::Label(label.into()),
            Attribute::Id(label.into()),
        ];
        let session = self.log_in(true)?;
        session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
            .map_err(|error| unavailable(&error))?;
        self.key(label)
    }

    /// Finds the key with that label and checks its attributes.
    pub fn key(self: &Arc<Self>, label: &str) -> Result<TokenKey, SignerError> {
        let (point, reported) = self.with_session(|session| {
            let private = find_only(session, ObjectClass::PRIVATE_KEY, label)?;
            let public = find_only(session, ObjectClass::PUBLIC_KEY, label)?;
            let (Some(private), Some(public)) = (private, public) else {
                return Ok((None, Vec::new()));
            };
            let reported = session.get_attributes(
                private,
                &REQUIRED_ATTRIBUTES.map(|(_, wanted)| wanted.attribute_type()),
            )?;
            let point = session.get_attributes(public, &[AttributeType::EcPoint])?;
            let point = point.into_iter().find_map(|attribute| match attribute {
                Attribute::EcPoint(bytes) => Some(bytes),
                _ => None,
            });
            Ok((point, reported))
        })?;
        let unusable = |why: &str| SignerError::Unusable(format!("{label:?} {why}"));
        let point = point.ok_or_else(|| unusable("is not exactly one key pair of the token"))?;
        if let Some(why) = missing_guarantee(&reported) {
            return Err(unusable(&why));
        }
        let address = address_of(&point).ok_or_else(|| unusable("is no secp256k1 key"))?;
        Ok(TokenKey {
            token: self.clone(),
            label: label.to_owned(),
            address,
        })
    }

    fn sign(&self, label: &str, digest: [u8; 32]) -> Result<Option<Vec<u8>>, SignerError> {
        self.with_session(|session| {
            find_only(session, ObjectClass::PRIVATE_KEY, label)?
                .map(|key| session.sign(&Mechanism::Ecdsa, key, &digest))
                .transpose()
        })
    }

    /// The cached session may have ended with the token's connection; then a new session repeats the action.
    fn with_session<R>(&self, act: impl Fn(&Session) -> Result<R, Error>) -> Result<R, SignerError> {
        let mut held = self.session.lock();
        if let Some(session) = held.take()
            && let Ok(done) = act(&session)
        {
            *held = Some(session);
            return Ok(done);
        }
        let session = self.log_in(false)?;
        let done = act(&session).map_err(|error| unavailable(&error))?;
        *held = Some(session);
        Ok(done)
    }

    fn log_in(&self, to_write: bool) -> Result<Session, SignerError> {
        let session = if to_write {
            self.module.open_rw_session(self.slot)
        } else {
            self.module.open_ro_session(self.slot)
        };
        let session = session.map_err(|error| unavailable(&error))?;
        match session.login(UserType::User, Some(&self.config.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => Err(unavailable(&error)),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.config.label)
    }
}

/// One key of a token.
#[derive(Debug)]
pub struct TokenKey {
    token: Arc<Token>,
    label: String,
    address: Address,
}

#[async_trait]
impl Signer for TokenKey {
    fn address(&self) -> Address {
        self.address
    }

    async fn sign(&self, digest: [u8; 32]) -> Result<RawSignature, SignerError> {
        let (token, label) = (self.token.clone(), self.label.clone());
        let sign = move || token.sign(&label, digest);
        let signed = run_blocking(&self.token.in_use, SIGN_TIMEOUT, sign).await??;
        let gone = || SignerError::Unavailable(format!("{:?} is gone from the token", self.label));
        with_recovery_bit(&signed.ok_or_else(gone)?, digest, &self.address)
            .ok_or_else(|| SignerError::Unavailable("the token signed with another key".to_owned()))
    }
}

/// Runs a call that may block for ever on its own thread, one at a time: a hanging token blocks that thread only, and
/// every caller gets an error within the time limit.
async fn run_blocking<R: Send + 'static>(
    in_use: &Arc<Semaphore>,
    within: Duration,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, SignerError> {
    let gone = |error: String| SignerError::Unavailable(error);
    let done = timeout(within, async {
        let in_use = in_use.clone().acquire_owned().await;
        let in_use = in_use.map_err(|error| gone(error.to_string()))?;
        let done = tokio::task::spawn_blocking(move || hold_while(in_use, work));
        done.await.map_err(|error| gone(error.to_string()))
    });
    done.await
        .unwrap_or_else(|_| Err(gone(format!("the token gave no answer within {within:?}"))))
}

/// The token is in use until the call ends, even if its caller has long given up.
fn hold_while<R>(in_use: OwnedSemaphorePermit, work: impl FnOnce() -> R) -> R {
    let done = work();
    drop(in_use);
    done
}

/// Why a key with these attributes may exist outside the token. An attribute that the token does not report counts as
/// missing.
fn missing_guarantee(reported: &[Attribute]) -> Option<String> {
    let (name, wanted) = REQUIRED_ATTRIBUTES
        .iter()
        .find(|(_, wanted)| !reported.contains(wanted))?;
    let wanted = if matches!(wanted, Attribute::Extractable(_)) {
        "false"
    } else {
        "true"
    };
    Some(format!(
        "may exist outside the token: {name} is not {wanted}. Make a key inside it with `fiatrails signer create` \
         and rotate to that one"
    ))
}

fn slot_of(module: &Pkcs11, label: &str) -> Result<Slot, SignerError> {
    let slots = module
        .get_slots_with_token()
        .map_err(|error| unavailable(&error))?;
    let mut found = slots.into_iter().filter(|slot| {
        let token = module.get_token_info(*slot);
        token.is_ok_and(|token| token.label() == label)
    });
    match (found.next(), found.next()) {
        (Some(slot), None) => Ok(slot),
        (None, _) => Err(SignerError::Unavailable(format!("there is no token {label:?}"))),
        (Some(_), Some(_)) => Err(SignerError::Unavailable(format!(
            "two tokens are called {label:?}"
        ))),
    }
}

/// The elliptic-curve key object with that label, if there is exactly one.
fn find_only(session: &Session, class: ObjectClass, label: &str) -> Result<Option<ObjectHandle>, Error> {
    let found = session.find_objects(&[
        Attribute::Class(class),
        Attribute::KeyType(KeyType::EC),
        Attribute::Label(label.into()),
    ])?;
    Ok(match found.as_slice() {
        [one] => Some(*one),
        _ => None,
    })
}

/// Keeps the error code and leaves out cryptoki's long explanation.
fn unavailable(error: &Error) -> SignerError {
    SignerError::Unavailable(match error {
        Error::Pkcs11(code, function) => format!("{function:?}: {code:?}"),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hanging_token_times_out_and_blocks_one_thread_only() {
        let (in_use, within) = (Arc::new(Semaphore::new(1)), Duration::from_millis(50));
        let (let_go, hangs) = std::sync::mpsc::channel::<()>();
        let hung = run_blocking(&in_use, within, move || hangs.recv().is_ok()).await;
        assert!(matches!(hung, Err(SignerError::Unavailable(_))), "{hung:?}");
        let second = Arc::new(Mutex::new(false));
        let begun = second.clone();
        let waited = run_blocking(&in_use, within, move || *begun.lock() = true).await;
        assert!(matches!(waited, Err(SignerError::Unavailable(_))), "{waited:?}");
        drop(let_go);
        let minute = Duration::from_mins(1);
        assert_eq!(
            run_blocking(&in_use, minute, || 7).await,
            Ok(7),
            "it answers again"
        );
        assert!(!*second.lock(), "a second thread waited for the token");
    }

    #[test]
    fn an_extractable_or_imported_key_is_refused_with_the_missing_attribute() {
        let required = || REQUIRED_ATTRIBUTES.map(|(_, wanted)| wanted).to_vec();
        assert_eq!(missing_guarantee(&required()), None);
        let turned = [
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
            Attribute::Local(false),
            Attribute::AlwaysSensitive(false),
            Attribute::NeverExtractable(false),
        ];
        for (index, (name, _)) in REQUIRED_ATTRIBUTES.iter().enumerate() {
            let (mut other, mut silent) = (required(), required());
            other[index] = turned[index].clone();
            silent.remove(index);
            for reported in [other, silent] {
                let why = missing_guarantee(&reported).unwrap_or_default();
                assert!(
                    why.contains(&format!("{name} is not ")) && why.contains("signer create"),
                    "{why}"
                );
            }
        }
    }
}
