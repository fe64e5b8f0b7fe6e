//! Who a replica is: an ed25519 key pair.
//!
//! The public key is the name under which a replica is known to its cluster; with the private key
//! it seals its chains and shows in a TLS handshake that it is who it says. Whoever signs puts a
//! text of its own purpose in front, so that no signature means anything in another place.
//! Drawing the seed and keeping it in a file is left to the upper floors.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::model::PublicKey;

/// Length of a signature, in bytes.
pub const SIGNATURE_BYTES: usize = 64;
/// Length of the secret that a key pair is made from, in bytes.
pub const SEED_BYTES: usize = 32;

/// The key pair of one replica. Clones share it; the private part can not be taken out again.
#[derive(Clone)]
pub struct Identity {
    pair: Arc<Ed25519KeyPair>,
    public: PublicKey,
}

impl Identity {
    /// Makes the key pair that belongs to a seed (RFC 8032): 32 secret random bytes, drawn by the
    /// caller.
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Self {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are an ed25519 seed");
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Self {
            pair: Arc::new(pair),
            public: PublicKey(public),
        }
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs a message. The same message always gets the same signature.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public)
    }
}

/// Whether `signature` is one of `message`, made with the private key of `key`.
///
/// False, too, for a signature of another length and for a key that is not [sound](is_sound).
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    is_sound(key)
        && UnparsedPublicKey::new(&ED25519, &key.0)
            .verify(message, signature)
            .is_ok()
}

/// Signatures that were found good, so that replicas in one process verify each only once.
///
/// In it comes what [`verify`] has said is good, and what was signed here with the private key
/// itself. What is not in it is verified. So it answers the same as [`verify`], as long as nobody
/// finds two inputs of one blake3 hash. It remembers about the newest [`GoodSeals::MAX`] and twice
/// that at most.
#[derive(Default)]
pub struct GoodSeals(Mutex<Generations>);

/// Hashes of key, message and signature; when `young` is full it takes the place of `old`.
#[derive(Default)]
struct Generations {
    young: HashSet<[u8; 32]>,
    old: HashSet<[u8; 32]>,
}

impl GoodSeals {
    /// How many signatures are remembered at least, once there were so many.
    pub const MAX: usize = 1 << 16;

    /// What [`verify`] says, without asking it for what is known to be good.
    pub fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        let hash = Self::hash(key, message, signature);
        {
            let known = self.lock();
            if known.young.contains(&hash) || known.old.contains(&hash) {
                return true;
            }
        }
        let good = verify(key, message, signature);
        if good {
            self.remember(hash);
        }
        good
    }

    /// Signs a message, as [`Identity::sign`] does, and remembers that this is its signature.
    pub fn sign(&self, identity: &Identity, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let signature = identity.sign(message);
        self.remember(Self::hash(&identity.public, message, &signature));
        signature
    }

    fn hash(key: &PublicKey, message: &[u8], signature: &[u8]) -> [u8; 32] {
        let mut hash = blake3::Hasher::new();
        hash.update(&key.0)
            .update(&(message.len() as u64).to_be_bytes())
            .update(message)
            .update(signature);
        *hash.finalize().as_bytes()
    }

    fn remember(&self, hash: [u8; 32]) {
        let mut known = self.lock();
        if known.young.len() == Self::MAX {
            known.old = std::mem::take(&mut known.young);
        }
        known.young.insert(hash);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for GoodSeals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GoodSeals")
    }
}

/// Whether a key is fit to name a replica: written in its one canonical way, and not one of the
/// eight points of small order.
///
/// A second way to write a key would be a second name for one replica, and under a key of small
/// order anybody can sign. That a key lies on the curve at all shows when it is used: [`verify`]
/// is false if it does not.
pub fn is_sound(key: &PublicKey) -> bool {
    let mut y = key.0;
    y[31] &= 0x7f;
    let below_the_prime = y[31] != 0x7f || y[0] < 0xed || y[1..31].iter().any(|byte| *byte != 0xff);
    below_the_prime && !SMALL_ORDER.contains(&y)
}

/// The five y coordinates of the points whose order divides 8, in canonical form.
const SMALL_ORDER: [[u8; 32]; 5] = {
    let mut zero_one_minus_one = [[0; 32]; 3];
    zero_one_minus_one[1][0] = 1;
    zero_one_minus_one[2] = [0xff; 32];
    zero_one_minus_one[2][0] = 0xec;
    zero_one_minus_one[2][31] = 0x7f;
    [
        zero_one_minus_one[0],
        zero_one_minus_one[1],
        zero_one_minus_one[2],
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(byte: u8) -> Identity {
        Identity::from_seed(&[byte; SEED_BYTES])
    }

    #[test]
    fn a_seed_always_makes_the_same_key_and_signature() {
        // RFC 8032, section 7.1, test 1: the empty message.
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let seed: PublicKey = seed.parse().unwrap();
        let identity = Identity::from_seed(&seed.0);
        assert_eq!(
            identity.public().to_string(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        let signature = identity.sign(b"");
        assert_eq!(signature[..4], [0xe5, 0x56, 0x43, 0x00]);
        assert_eq!(signature[60..], [0x8e, 0x7a, 0x10, 0x0b]);
        assert!(verify(&identity.public(), b"", &signature));
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_only() {
        let (one, two) = (identity(1), identity(2));
        let signature = one.sign(b"message");
        assert!(verify(&one.public(), b"message", &signature));
        assert!(!verify(&one.public(), b"massage", &signature));
        assert!(!verify(&two.public(), b"message", &signature));
        assert!(!verify(&one.public(), b"message", &signature[..63]));
        for bit in 0..SIGNATURE_BYTES * 8 {
            let mut other = signature;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&one.public(), b"message", &other), "bit {bit}");
        }
    }

    #[test]
    fn what_was_found_good_is_good_again_and_nothing_else_is() {
        let (one, two, good) = (identity(1), identity(2), GoodSeals::default());
        let signature = one.sign(b"message");
        for _ in 0..2 {
            assert!(good.verify(&one.public(), b"message", &signature));
            assert!(!good.verify(&one.public(), b"massage", &signature));
            assert!(!good.verify(&two.public(), b"message", &signature));
            assert!(!good.verify(&one.public(), b"message", &signature[..63]));
            for bit in 0..SIGNATURE_BYTES * 8 {
                let mut other = signature;
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(!good.verify(&one.public(), b"message", &other), "bit {bit}");
            }
        }
        assert_eq!(good.lock().young.len(), 1, "only the good one");
        assert_eq!(good.sign(&two, b"message"), two.sign(b"message"));
        assert_eq!(good.lock().young.len(), 2);
        assert!(good.verify(&two.public(), b"message", &two.sign(b"message")));
    }

    #[test]
    fn a_key_under_which_anybody_can_sign_is_refused() {
        // Under the neutral element, R = S·B with any S passes the equation of ed25519.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut forged = [0; SIGNATURE_BYTES];
        forged[0] = 1;
        let ring_alone = UnparsedPublicKey::new(&ED25519, &neutral).verify(b"anything", &forged);
        assert!(ring_alone.is_ok(), "then the check is not needed any more");
        assert!(!verify(&PublicKey(neutral), b"anything", &forged));
        for mut weak in SMALL_ORDER {
            assert!(!is_sound(&PublicKey(weak)));
            weak[31] |= 0x80;
            assert!(!is_sound(&PublicKey(weak)));
        }
    }

    #[test]
    fn a_second_way_to_write_a_key_is_refused() {
        let mut key = [0xff; 32];
        key[0] = 0xf0;
        assert!(!is_sound(&PublicKey(key)), "3, written as 3 + 2^255 - 19");
        assert!((0..=255).all(|byte| is_sound(&identity(byte).public())));
    }

    #[test]
    fn debug_output_shows_the_public_key_only() {
        let identity = identity(7);
        assert_eq!(
            format!("{identity:?}"),
            format!("Identity({})", identity.public())
        );
    }
}
