// Files that are there after a power loss, and read whole.
import { type FileHandle, open, writeFile } from 'node:fs/promises'

/** A new file, on disk when the promise resolves; its name is when its folder is ({@link syncFolder}). */
export async function writeDurably(path: string, parts: Iterable<Buffer> | AsyncIterable<Buffer>): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await writeFile(file, parts)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Names that were made, changed or taken away in it are so after a power loss, too. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** Shorter than asked: the file ends there. */
export async function readRange(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length)
  let filled = 0
  for (let read = 1; read > 0 && filled < length; filled += read)
    read = (await file.read(bytes, filled, length - filled, position + filled)).bytesRead
  return bytes.subarray(0, filled)
}

export function isAbsent(error: unknown): boolean {
  return (error as { code?: string }).code === 'ENOENT'
}
