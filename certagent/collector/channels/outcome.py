"""What an HTTP receiver's answer means for a message: taken over, worth another try, or never. One rule for all."""

import aiohttp

from certagent.collector.channels.message import PermanentFailure, TransientFailure

SECONDS = 10.0
_WORTH_RETRYING = frozenset({408, 425, 429})


async def post(session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]) -> None:
    """2xx is taken over; other 4xx and redirects raise `PermanentFailure`, all else `TransientFailure`."""
    try:
        async with session.post(
            url, data=body, headers=headers, timeout=aiohttp.ClientTimeout(total=SECONDS), allow_redirects=False
        ) as response:
            status = response.status
    except aiohttp.InvalidURL as error:
        raise PermanentFailure(f"no usable URL: {error}") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise TransientFailure(str(error) or type(error).__name__) from error
    if 300 <= status < 500 and status not in _WORTH_RETRYING:
        raise PermanentFailure(f"HTTP {status}")
    if status >= 300:
        raise TransientFailure(f"HTTP {status}")
