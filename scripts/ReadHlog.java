import java.io.FileNotFoundException;
import java.util.Map;
import java.util.TreeMap;
import org.HdrHistogram.EncodableHistogram;
import org.HdrHistogram.Histogram;
import org.HdrHistogram.HistogramLogReader;

/**
 * Prints of each tag of an interval log, over all its intervals: count; p50, p90, p99, p99.9 and maximum as the library
 * has them; the same by the rank that is nearest to each.
 */
public class ReadHlog {
  private static final double[] PERCENTILES = {50, 90, 99, 99.9, 100};

  public static void main(String[] args) throws FileNotFoundException {
    Map<String, Histogram> sums = new TreeMap<>();
    HistogramLogReader reader = new HistogramLogReader(args[0]);
    EncodableHistogram interval;
    while ((interval = reader.nextIntervalHistogram()) != null) {
      Histogram sum = sums.computeIfAbsent(interval.getTag(), tag -> new Histogram(3));
      sum.setAutoResize(true);
      sum.add((Histogram) interval);
    }
    for (Map.Entry<String, Histogram> entry : sums.entrySet()) {
      Histogram sum = entry.getValue();
      StringBuilder line = new StringBuilder(entry.getKey()).append(' ').append(sum.getTotalCount());
      for (double percentile : PERCENTILES) line.append(' ').append(sum.getValueAtPercentile(percentile));
      for (double percentile : PERCENTILES) {
        long rank = Math.max(1, (long) (percentile / 100 * sum.getTotalCount() + 0.5));
        // A little before a rank every version of the library means that rank.
        line.append(' ').append(sum.getValueAtPercentile(100 * (rank - 0.25) / sum.getTotalCount()));
      }
      System.out.println(line);
    }
  }
}
