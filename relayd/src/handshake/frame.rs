//! Frames before HTTP/2 begins: a length and a message.

use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Largest frame, in bytes: a hello with 32 engines of 100 models fits many times.
pub const FRAME_MAX_BYTES: usize = 64 * 1024;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection broke.
    #[error("the connection ended during the greeting: {0}")]
    Io(#[from] std::io::Error),
    /// It says that it is larger than any frame.
    #[error("a frame of {0} bytes is larger than {FRAME_MAX_BYTES}")]
    Large(usize),
    /// It is no message of that kind.
    #[error("the frame does not read: {0}")]
    Decode(#[from] prost::DecodeError),
}

/// Writes one message.
///
/// # Errors
/// [`FrameError::Large`], [`FrameError::Io`].
pub async fn write(
    io: &mut (impl AsyncWrite + Unpin),
    message: &impl Message,
) -> Result<(), FrameError> {
    let size = message.encoded_len();
    if size > FRAME_MAX_BYTES {
        return Err(FrameError::Large(size));
    }
    let mut frame = Vec::with_capacity(4 + size);
    frame.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&message.encode_to_vec());
    io.write_all(&frame).await?;
    Ok(io.flush().await?)
}

/// Reads one message, and not one byte more.
///
/// # Errors
/// Every [`FrameError`].
pub async fn read<M: Message + Default>(
    io: &mut (impl AsyncRead + Unpin),
) -> Result<M, FrameError> {
    let size = usize::try_from(io.read_u32().await?).unwrap_or(usize::MAX);
    if size > FRAME_MAX_BYTES {
        return Err(FrameError::Large(size));
    }
    let mut frame = vec![0; size];
    io.read_exact(&mut frame).await?;
    Ok(M::decode(frame.as_slice())?)
}

#[cfg(test)]
mod tests {
    use relay_proto::fleet::v1::Hello;

    use super::*;

    #[tokio::test]
    async fn a_message_comes_back_and_what_follows_it_stays() {
        let hello = Hello { protocol: 1, name: "host".to_owned(), ..Hello::default() };
        let mut wire = Vec::new();
        write(&mut wire, &hello).await.unwrap();
        wire.extend_from_slice(b"PRI");
        let mut left = wire.as_slice();
        assert_eq!(read::<Hello>(&mut left).await.unwrap(), hello);
        assert_eq!(left, b"PRI");
    }

    #[tokio::test]
    async fn sizes_are_bounded_before_anything_is_allocated() {
        let large = u32::MAX.to_be_bytes();
        assert!(matches!(read::<Hello>(&mut large.as_slice()).await, Err(FrameError::Large(_))));
        let long = Hello { name: "x".repeat(FRAME_MAX_BYTES), ..Hello::default() };
        assert!(matches!(write(&mut Vec::new(), &long).await, Err(FrameError::Large(_))));
        let cut = [0, 0, 0, 9, 1];
        assert!(matches!(read::<Hello>(&mut cut.as_slice()).await, Err(FrameError::Io(_))));
        let garbage = [0, 0, 0, 2, 0xff, 0xff];
        assert!(matches!(read::<Hello>(&mut garbage.as_slice()).await, Err(FrameError::Decode(_))));
    }
}
