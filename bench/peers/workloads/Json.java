import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;

/** JSON of one class by Jackson: reader and writer are made once and used for every record. */
public final class Json<T> {
  private static final ObjectMapper MAPPER = new ObjectMapper();

  private final ObjectReader reader;
  private final ObjectWriter writer;

  public Json(Class<T> type) {
    reader = MAPPER.readerFor(type);
    writer = MAPPER.writerFor(type);
  }

  public T parse(byte[] text) {
    try {
      return reader.readValue(text);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  public byte[] write(T value) {
    try {
      return writer.writeValueAsBytes(value);
    } catch (JsonProcessingException error) {
      throw new UncheckedIOException(error);
    }
  }
}
