import { FRAME_LIMITS, type FramedMessage, FrameReader, frameMessage } from "../../../src/protocol/frames.ts";
import { decodeMessage, encodeMessage } from "../../../src/protocol/message.ts";
import type { WireValue } from "../../../src/protocol/values.ts";

/** The value as whoever it is sent to has it. */
export function received(value: WireValue): WireValue {
  const messages: FramedMessage[] = [];
  const reader = new FrameReader(FRAME_LIMITS, (message) => messages.push(message.own()));
  reader.push(Buffer.concat(frameMessage(encodeMessage(value))), false);
  return decodeMessage(messages[0]!);
}
