//! What one interval of a service was like, as somebody who used it says: the client, which the
//! exit co-signs, or a measurer, which signs alone.

use crate::bond::BondDomain;
use crate::wire::{Decoder, Encoder};
use crate::{Address, Digest, Error, Keccak, Signature, SigningKey, SlaId, keccak256};

const SAMPLE_TYPE: &[u8] = b"Sample(bytes32 slaId,uint32 lane,uint64 interval,uint64 upBytes,\
uint64 downBytes,uint32 rttP50Us,uint32 rttP95Us,uint32 lossPpm,uint64 tput1sMaxKbps,uint32 n)";

/// One interval of one lane, as its signer saw it. Signed as EIP-712 in the domain of the bond that
/// stands behind the agreement, so that it is good for no other agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Sample {
    /// The agreement.
    pub sla: SlaId,
    /// The lane of the signer's channel.
    pub lane: u32,
    /// Intervals of the agreement that had passed when this one began: it lasts from
    /// `start + interval * interval_s` on.
    pub interval: u64,
    /// Payload bytes from the client to targets.
    pub up_bytes: u64,
    /// Payload bytes from targets to the client.
    pub down_bytes: u64,
    /// Median of the round trip times, in microseconds.
    pub rtt_p50_us: u32,
    /// 95th percentile of the round trip times, in microseconds.
    pub rtt_p95_us: u32,
    /// Lost of what was sent, in parts per million.
    pub loss_ppm: u32,
    /// The most that one direction carried in any second, in kbit/s.
    pub tput_1s_max_kbps: u64,
    /// How many round trip times this is from. 0: nothing came back.
    pub n: u32,
}

impl Sample {
    /// Bytes of an encoded sample.
    pub const ENCODED_BYTES: usize = 32 + 4 + 3 * 8 + 3 * 4 + 8 + 4;

    /// The EIP-712 `hashStruct`.
    pub fn struct_hash(&self) -> Digest {
        Keccak::default()
            .update(&keccak256(SAMPLE_TYPE).0)
            .update(&self.sla.0)
            .word(self.lane.into())
            .word(self.interval.into())
            .word(self.up_bytes.into())
            .word(self.down_bytes.into())
            .word(self.rtt_p50_us.into())
            .word(self.rtt_p95_us.into())
            .word(self.loss_ppm.into())
            .word(self.tput_1s_max_kbps.into())
            .word(self.n.into())
            .finish()
    }

    /// What is signed.
    pub fn digest(&self, domain: &BondDomain) -> Digest {
        domain.digest(&self.struct_hash())
    }

    /// Signs the sample.
    pub fn sign(self, domain: &BondDomain, key: &SigningKey) -> SignedSample {
        SignedSample { sample: self, signature: key.sign(&self.digest(domain)) }
    }

    pub(crate) fn encode_into(&self, out: &mut Encoder<'_>) {
        out.bytes(&self.sla.0).u32(self.lane).u64(self.interval);
        out.u64(self.up_bytes).u64(self.down_bytes);
        out.u32(self.rtt_p50_us).u32(self.rtt_p95_us).u32(self.loss_ppm);
        out.u64(self.tput_1s_max_kbps).u32(self.n);
    }

    pub(crate) fn decode_from(input: &mut Decoder<'_>) -> Result<Sample, Error> {
        Ok(Sample {
            sla: SlaId(input.array("sample sla")?),
            lane: input.u32("sample lane")?,
            interval: input.u64("sample interval")?,
            up_bytes: input.u64("sample up_bytes")?,
            down_bytes: input.u64("sample down_bytes")?,
            rtt_p50_us: input.u32("sample rtt_p50_us")?,
            rtt_p95_us: input.u32("sample rtt_p95_us")?,
            loss_ppm: input.u32("sample loss_ppm")?,
            tput_1s_max_kbps: input.u64("sample tput_1s_max_kbps")?,
            n: input.u32("sample n")?,
        })
    }
}

/// A sample and its signature, not necessarily a good one. By a measurer it is a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct SignedSample {
    pub sample: Sample,
    pub signature: Signature,
}

impl SignedSample {
    /// Bytes of an encoded signed sample.
    pub const ENCODED_BYTES: usize = Sample::ENCODED_BYTES + crate::SIGNATURE_BYTES;

    /// Who signed it.
    ///
    /// # Errors
    /// What is wrong with the signature.
    pub fn recover(&self, domain: &BondDomain) -> Result<Address, Error> {
        self.signature.recover(&self.sample.digest(domain))
    }

    /// The encoding that a journal keeps.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SignedSample::ENCODED_BYTES);
        self.encode_into(&mut Encoder(&mut bytes));
        bytes
    }

    /// Reads what [`SignedSample::encode`] wrote.
    ///
    /// # Errors
    /// If it isn't exactly that.
    pub fn decode(bytes: &[u8]) -> Result<SignedSample, Error> {
        let mut input = Decoder::new(bytes);
        let signed = SignedSample::decode_from(&mut input)?;
        input.finish()?;
        Ok(signed)
    }

    pub(crate) fn encode_into(&self, out: &mut Encoder<'_>) {
        self.sample.encode_into(out);
        out.bytes(&self.signature.0);
    }

    pub(crate) fn decode_from(input: &mut Decoder<'_>) -> Result<SignedSample, Error> {
        Ok(SignedSample {
            sample: Sample::decode_from(input)?,
            signature: Signature(input.array("sample signature")?),
        })
    }
}

/// A client's sample that the exit found to agree with its own records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct CoSigned {
    pub sample: Sample,
    /// By the key that signs the channel's vouchers.
    pub signature: Signature,
    /// By the agreement's operator, over the same.
    pub exit_signature: Signature,
}

impl CoSigned {
    /// Checks both signatures.
    ///
    /// # Errors
    /// What is wrong with the first bad one.
    pub fn verify(
        &self,
        domain: &BondDomain,
        client: Address,
        operator: Address,
    ) -> Result<(), Error> {
        let digest = self.sample.digest(domain);
        self.signature.verify(&digest, client)?;
        self.exit_signature.verify(&digest, operator)
    }

    /// The encoding that a journal keeps.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = SignedSample { sample: self.sample, signature: self.signature }.encode();
        bytes.extend_from_slice(&self.exit_signature.0);
        bytes
    }

    /// Reads what [`CoSigned::encode`] wrote.
    ///
    /// # Errors
    /// If it isn't exactly that.
    pub fn decode(bytes: &[u8]) -> Result<CoSigned, Error> {
        let mut input = Decoder::new(bytes);
        let SignedSample { sample, signature } = SignedSample::decode_from(&mut input)?;
        let exit_signature = Signature(input.array("exit signature")?);
        input.finish()?;
        Ok(CoSigned { sample, signature, exit_signature })
    }
}
